"""The reviewers' acts in a file that is only ever added to; each line names the SM3 digest of the one before.

One writer at a time (a lock on the file); an act is on disk before it counts. The chain's newest digest is
what an outer audit record binds.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path

from core_app.staff.reviews import Act, check_act
from ueba.errors import UebaError
from ueba.store import sm3_hex

_BEGIN = "0" * 64


class ActRefused(UebaError):
    """An act that may not follow the others; nothing was written."""


def read_acts(file: Path) -> tuple[list[Act], str]:
    """Return all acts and the newest digest; UebaError when a line was changed, moved or taken out."""
    if not file.exists():
        return [], _BEGIN
    with file.open("rb") as opened:
        return _read(file, opened.read())


def _read(file: Path, body: bytes) -> tuple[list[Act], str]:
    acts, digest = [], _BEGIN
    for number, line in enumerate(body.splitlines(), 1):
        found = json.loads(line)
        expected = _digest(digest, found["act"])
        if found["digest"] != expected:
            raise UebaError(f"{file}:{number}: the chain is broken: the line or one before it was changed")
        acts.append(Act.model_validate_json(json.dumps(found["act"])))
        digest = expected
    return acts, digest


def _digest(before: str, act: object) -> str:
    return sm3_hex(before.encode() + json.dumps(act, sort_keys=True, ensure_ascii=False).encode())


def append_act(file: Path, act: Act) -> Sequence[Act]:
    """Add an act and return all; ActRefused says why it may not be added."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        opened.seek(0)
        acts, digest = _read(file, opened.read())
        if acts and acts[-1] == act:
            return acts
        reason = check_act(acts, act)
        if reason:
            raise ActRefused(reason)
        plain = act.model_dump(mode="json")
        line = json.dumps({"act": plain, "digest": _digest(digest, plain)}, ensure_ascii=False)
        opened.write(line.encode() + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
        return [*acts, act]
