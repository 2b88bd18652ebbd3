"""Renew a running stand's certificates: new ones in force, taken over by all, only then the old revoked."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from replication.model import DATA_SITES, Site
from replication.projection.valkey import open_valkey, reread_certificates
from replication.settings import TlsAddress
from replication.tls import LOADED, OPERATOR, stamp_of
from runbooks.stand.certificates import issue, put_in_force, revoke_older, tls_dir
from runbooks.stand.outside import pids_of_outside
from runbooks.stand.ports import OUTSIDE
from runbooks.stand.processes import is_alive, read_pids
from runbooks.stand.sites import pids_path
from runbooks.stand.topology import LOOPBACK, StandError, read_stand

TAKEN_OVER_S = 20.0
"""Patience with processes to take renewed files over; they look twice a second. Source: our choice."""
_LOOK_S = 0.05
_READ_ANEW = {"etcd", "valkey", "backup"}
"""etcd reads its files at every handshake, Valkey when it is told to; a backup holds no certificate."""
_CACHE_S = 5.0
"""Patience with a cache that is told. Source: our choice; it answers in milliseconds."""


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
    caches = asyncio.run(_tell_caches(home))
    say("every process presents the new certificates; revoke the old ones")
    revoked = revoke_older(home, now)
    confirmed = _wait_until_taken_over(home, "the revocations")
    return Renewal(number, revoked, (*confirmed, *caches))


async def _tell_caches(home: Path) -> tuple[str, ...]:
    """Have the Valkeys that speak TLS read the new certificates; StandError when one does not."""
    stand = read_stand(home)
    told = []
    for site in DATA_SITES if stand.valkey_tls_bin is not None else ():
        running = read_pids(pids_path(home, site)).get("valkey")
        if running is None or not is_alive(running):
            continue  # it reads them when it starts
        at = TlsAddress(LOOPBACK, stand.port(site, "valkey"), tls_dir(home, site), OPERATOR)
        try:
            async with open_valkey(at, stand.key_path("valkey"), _CACHE_S) as valkey:
                await reread_certificates(valkey)
        except RedisError as error:
            raise StandError(
                f"{site} valkey did not take over the new certificates ({type(error).__name__}), so the old "
                "ones are not revoked; end it, run `biyi stand up`, then repeat this"
            ) from error
        told.append(f"{site} valkey")
    return tuple(told)


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
