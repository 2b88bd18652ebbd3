"""Renew a running stand's certificates: new ones in force, taken over by all, only then the old revoked."""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from replication.model import Site
from replication.tls import LOADED, stamp_of
from runbooks.stand.certificates import issue, put_in_force, revoke_older, tls_dir
from runbooks.stand.outside import pids_of_outside
from runbooks.stand.ports import OUTSIDE
from runbooks.stand.processes import is_alive, read_pids
from runbooks.stand.sites import pids_path
from runbooks.stand.topology import StandError

TAKEN_OVER_S = 20.0
"""Patience with processes to take renewed files over; they look twice a second. Source: our choice."""
_LOOK_S = 0.05
_READ_ANEW = {"etcd", "valkey", "backup"}
"""etcd reads its files at every handshake; the others hold no certificate."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What was done: the generation now in force, certificates revoked, holders that confirmed both."""

    generation: int
    revoked: int
    confirmed: tuple[str, ...]


def renew_certificates(home: Path, now: dt.datetime, say: Callable[[str], None]) -> Renewal:
    """Renew all certificates and revoke the old; StandError, nothing revoked, when a process does not follow.

    Repeating it after that is harmless: another generation is made.
    """
    say("make new keys and certificates, put them in force")
    number = issue(home, now)
    put_in_force(home, number)
    _wait_until_taken_over(home, "the new certificates, so the old ones are not revoked")
    say("every process presents the new certificates; revoke the old ones")
    revoked = revoke_older(home, now)
    confirmed = _wait_until_taken_over(home, "the revocations")
    return Renewal(number, revoked, confirmed)


def _wait_until_taken_over(home: Path, what: str) -> tuple[str, ...]:
    end = time.monotonic() + TAKEN_OVER_S
    while True:
        holders = _living_holders(home)
        late = [f"{where} {name}" for where, name in holders if not _has_taken_over(home, where, name)]
        if not late:
            return tuple(f"{where} {name}" for where, name in holders)
        if time.monotonic() > end:
            raise StandError(
                f"{', '.join(late)} did not take over {what} in {TAKEN_OVER_S:g} s; see `biyi stand logs`, "
                "end it and run `biyi stand up`, then repeat this"
            )
        time.sleep(_LOOK_S)


def _living_holders(home: Path) -> list[tuple[str, str]]:
    lists = {**{str(site): pids_path(home, site) for site in Site}, OUTSIDE: pids_of_outside(home)}
    return [
        (where, name)
        for where, path in lists.items()
        for name, running in read_pids(path).items()
        if name not in _READ_ANEW and is_alive(running)
    ]


def _has_taken_over(home: Path, where: str, name: str) -> bool:
    directory = tls_dir(home, where)
    try:
        return (directory / LOADED / name).read_text() == stamp_of(directory)
    except FileNotFoundError:
        return False
