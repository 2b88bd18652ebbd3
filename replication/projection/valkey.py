"""The site's Valkey: a cell's position, its ring and its values, changed together or not at all.

Every change is one Lua script that names the position it was made for, word for word. So a row has
its effect once, whoever dies when; a second projector, a wiped Valkey, a ring of another time is
noticed by the next change. The script's writes are one transaction in Valkey's own log: a Valkey
that loses the end of it falls back to an older position *with* its older values.
"""

import json
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from replication.projection.position import Position, Ring, RingEntry
from replication.settings import TlsAddress
from replication.transport import plan_valkey

Valkey = Redis

_APPLY = """
local held = redis.call('GET', KEYS[1])
if (held or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[4] ~= '' then redis.call('RPUSH', KEYS[2], ARGV[4]) end
if ARGV[3] ~= '0' then redis.call('LTRIM', KEYS[2], ARGV[3], -1) end
local generation, forced = ARGV[5], ARGV[6] == '1'
for i = 3, #KEYS do
    local version, body = ARGV[2 * i + 1], ARGV[2 * i + 2]
    local found = redis.call('HMGET', KEYS[i], 'generation', 'version')
    local newer = found[1] ~= generation or tonumber(found[2]) < tonumber(version)
    if forced and body == '' then
        redis.call('DEL', KEYS[i])
    elseif forced or newer then
        redis.call('HSET', KEYS[i], 'generation', generation, 'version', version, 'body', body)
    end
end
return 1
"""

# One command costs the client a third less than a transaction of two, and each reader waits for it.
_READ = """
return {redis.call('GET', KEYS[1]), redis.call('HMGET', KEYS[2], 'generation', 'version', 'body')}
"""

_DROP_STRANGERS = """
local dropped = 0
for i = 1, #KEYS do
    if redis.call('HGET', KEYS[i], 'generation') ~= ARGV[1] then
        dropped = dropped + redis.call('UNLINK', KEYS[i])
    end
end
return dropped
"""
_SCAN_KEYS = 500
_EVERYTHING = 2**31
"""Drops a list whole, whatever its length."""
_CERTIFICATES = ("tls-cert-file", "tls-key-file", "tls-ca-cert-file")


class _OurConnection(SSLConnection):
    """A connection that begins with the certificates of its moment, and believes our authority alone.

    redis-py's own keeps what it read first, and trusts whom the machine trusts besides.
    """

    async def connect(self) -> None:
        """Connect; redis.ConnectionError when the other end is not ours."""
        files = self.ssl_context
        context = ssl.create_default_context(cafile=files.ca_certs)
        context.load_cert_chain(str(files.certfile), files.keyfile)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        files.context = context
        await super().connect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Value:
    """One value for the cache: `version` is the number of the row that made it; no body: taken away.

    A value that was taken away stays as a mark with its version, so that nothing older comes back.
    """

    key: str
    version: int
    body: str


@dataclass(frozen=True, slots=True)
class Held:
    """What Valkey holds of a cell; `text` is the position word for word ("": there is none)."""

    text: str
    position: Position | None
    ring: Ring


@dataclass(frozen=True, slots=True)
class Found:
    """A value as a reader gets it, with the position it was read beside."""

    body: dict[str, Any]
    version: int
    position: Position


def position_key(cell: str) -> str:
    """Return the key of a cell's position."""
    return f"biyi:{cell}:position"


def ring_key(cell: str) -> str:
    """Return the key of a cell's ring."""
    return f"biyi:{cell}:ring"


def value_key(cell: str, key: str) -> str:
    """Return the key of one value."""
    return f"biyi:{cell}:value:{key}"


@asynccontextmanager
async def open_valkey(
    at: Path | int | TlsAddress, password_file: Path, patience_seconds: float
) -> AsyncIterator[Valkey]:
    """Make a client of the site's Valkey; it connects when used, and never waits over its patience.

    `at`: its Unix socket, its port on the loopback, or where it is by TLS.
    """
    where: dict[str, Any]
    match at:
        case Path():
            where = {"unix_socket_path": str(at)}
        case int():
            where = {"host": "127.0.0.1", "port": at}
        case TlsAddress():
            where = plan_valkey(at)
    client = Redis(
        **where,
        password=password_file.read_text().strip(),
        socket_timeout=patience_seconds,
        socket_connect_timeout=patience_seconds,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        max_connections=32,
    )
    if isinstance(at, TlsAddress):
        client.connection_pool.connection_class = _OurConnection
    try:
        yield client
    finally:
        await client.aclose()


async def reread_certificates(valkey: Valkey) -> None:
    """Have the site's Valkey read its own certificate, key and authority again; by itself it never does.

    Setting them to what they are is enough (`VOLATILE_CONFIG` in its config.c), and whatever is connected
    stays so. ResponseError when it cannot use them, half a renewal say: it keeps what it has.
    """
    named = await valkey.config_get(*_CERTIFICATES)
    words = [word for name in _CERTIFICATES for word in (name, str(named[name]))]
    await valkey.config_set(words[0], words[1], *words[2:])


async def read_held(valkey: Valkey, cell: str) -> Held:
    """Read a cell's position and ring as one; what cannot be read counts as nothing."""
    async with valkey.pipeline(transaction=True) as pipe:
        pipe.get(position_key(cell))
        pipe.lrange(ring_key(cell), 0, -1)
        text, entries = await pipe.execute()
    if not text:
        return Held("", None, ())
    try:
        ring = tuple(RingEntry.from_json(entry) for entry in entries)
        return Held(text, Position.from_json(text), ring)
    except (ValueError, TypeError, KeyError):  # of an older program: it is read anew
        return Held(text, None, ())


async def change(
    valkey: Valkey,
    cell: str,
    held: Held,
    position: Position,
    values: Iterable[Value] = (),
    *,
    entry: RingEntry | None = None,
    dropped: int | None = 0,
    forced: bool = False,
) -> bool:
    """Move the cell from `held` to `position` with what belongs to it; False when it is not at `held`.

    Values keep the highest version unless `forced`. `dropped` None drops the whole ring.
    """
    some = tuple(values)
    keys = [position_key(cell), ring_key(cell), *(value_key(cell, value.key) for value in some)]
    words: list[str | int] = [
        held.text,
        position.to_json(),
        _EVERYTHING if dropped is None else dropped,
        entry.to_json() if entry else "",
        position.generation,
        "1" if forced else "0",
    ]
    for value in some:
        words += [value.version, value.body]
    return bool(await valkey.eval(_APPLY, len(keys), *keys, *words))


async def drop_strangers(valkey: Valkey, cell: str, generation: str) -> int:
    """Take away the values of other generations; returns how many there were."""
    dropped, cursor = 0, 0
    while True:
        cursor, keys = await valkey.scan(cursor, match=value_key(cell, "*"), count=_SCAN_KEYS)
        if keys:
            dropped += int(await valkey.eval(_DROP_STRANGERS, len(keys), *keys, generation))
        if cursor == 0:
            return dropped


async def forget(valkey: Valkey, cell: str) -> None:
    """Take the position away: the projector then reads everything anew, readers find nothing."""
    await valkey.delete(position_key(cell))


async def read_value(valkey: Valkey, cell: str, key: str) -> Found | None:
    """Return a value of the current generation beside its position; None when there is none.

    Both are read as one, so a value of a history that was given up is never returned.
    """
    return _found(await valkey.eval(_READ, 2, position_key(cell), value_key(cell, key)))


async def read_values(valkey: Valkey, wanted: Sequence[tuple[str, str]]) -> list[Found | None]:
    """Return what `read_value` does for each cell and key, in one round trip."""
    async with valkey.pipeline(transaction=False) as pipe:
        for cell, key in wanted:
            pipe.eval(_READ, 2, position_key(cell), value_key(cell, key))
        return [_found(found) for found in await pipe.execute()]


def _found(answer: Any) -> Found | None:
    text, (generation, version, body) = answer
    if not text or not body:
        return None
    try:
        position = Position.from_json(text)
    except (ValueError, TypeError, KeyError):
        return None
    return Found(json.loads(body), int(version), position) if position.generation == generation else None
