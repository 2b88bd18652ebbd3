"""The newest evidence pack of Level 3, verified and laid out item by item."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from compliance.audit.signing import read_public_keys
from compliance.controls.catalogue import Catalogue, read_catalogue
from compliance.controls.pack import PackReport, verify_pack

MOST_FACTS = 1200
"""Characters of a reading's facts that a page shows. Source: our choice; the pack has the whole."""


@dataclass(frozen=True, slots=True)
class Board:
    """A verified pack: what it came to (`findings` empty: it holds), outcomes by item, readings by hash."""

    name: str
    report: PackReport
    catalogue: Catalogue
    outcomes: Mapping[str, Mapping[str, Any]]
    readings: Mapping[str, Mapping[str, Any]]


def read_board(packs: Path, public_keys: Path) -> Board | None:
    """Return the newest pack in `packs`; None when none was ever made."""
    newest = max(packs.glob("controls-*.pack"), default=None)
    if newest is None:
        return None
    return _read(newest, newest.stat().st_mtime_ns, public_keys)


@lru_cache(maxsize=2)
def _read(path: Path, _changed_ns: int, public_keys: Path) -> Board:
    content, catalogue = path.read_bytes(), read_catalogue()
    report = verify_pack(content, read_public_keys(public_keys), catalogue)
    outcomes: dict[str, Mapping[str, Any]] = {}
    readings: dict[str, Mapping[str, Any]] = {}
    for line in content.splitlines():
        kind, _, text = line.partition(b" ")
        if kind == b"V":
            plain = json.loads(text)
            outcomes[plain["item"]] = plain
        elif kind == b"R":
            plain = json.loads(text)
            readings[plain["sm3"]] = plain
    return Board(path.name, report, catalogue, outcomes, readings)


def find_evidence(board: Board, item: str) -> list[dict[str, Any]]:
    """Return the readings that an item's state rests on, with their facts as text."""
    named = dict.fromkeys(one for place in board.outcomes[item]["places"] for one in place["evidence"])
    found = [board.readings[one] for one in named if one in board.readings]
    return [
        {**one, "facts_text": json.dumps(one["facts"], ensure_ascii=False, indent=1)[:MOST_FACTS]}
        for one in found
    ]
