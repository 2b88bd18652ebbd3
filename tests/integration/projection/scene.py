"""A cell with a copy at each site, a Valkey, and loans that change: real servers, rows by hand."""

import asyncio
import json
import secrets
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from core_app.projector import FEED
from core_app.read_models.loan_summary import summary_key
from core_app.sql.apply import apply_migrations, read_migrations
from replication.postgres.copy import Copy
from replication.projection.copy import LocalCopy, connect_copy
from replication.projection.position import Position
from replication.projection.projector import CellProjector, State
from replication.projection.valkey import Found, read_held, read_value
from runbooks.stand.binaries import find_valkey
from tests.integration.postgres.places import Pair, connect_as, free_port, until

Connection = psycopg.AsyncConnection[Any]
CAUGHT_UP_SECONDS = 15.0
"""Patience until a transaction of the server itself (an analyze) no longer holds rows back that follow it."""
TELL = "insert into core.outbox (topic, key, payload, idempotency_key) values (%s, %s, %s, %s)"


@dataclass
class Server:
    """A Valkey of its own; `kill` is SIGKILL, `start` starts it again on what its log holds."""

    port: int = field(default_factory=free_port)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="biyi-valkey-", dir="/tmp")))
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    process: subprocess.Popen[bytes] | None = None

    @property
    def password_file(self) -> Path:
        path = self.folder / "password"
        path.write_text(self.password + "\n")
        return path

    async def start(self) -> None:
        conf = self.folder / "valkey.conf"
        conf.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir "{self.folder}"\n'
            'appendonly yes\nappendfsync always\nsave ""\n'
        )
        command = [str(find_valkey()), str(conf)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = self.client()

        async def answers() -> bool:
            try:
                return bool(await client.ping())
            except (RedisError, OSError):
                return False

        await until(answers, "Valkey answers")
        await client.aclose()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self) -> Any:
        return Redis(
            host="127.0.0.1",
            port=self.port,
            password=self.password,
            decode_responses=True,
            socket_timeout=2,
            socket_connect_timeout=2,
        )


async def migrate(copy: Copy) -> None:
    async with await connect_as(copy, "biyi_owner") as owner:
        await apply_migrations(owner, read_migrations())


def make_projector(copy: Copy, passfile: Path, valkey: Any) -> CellProjector:
    return CellProjector("a", (copy.place,), passfile, FEED, valkey, lambda: secrets.token_hex(4), time.time)


async def tell(connection: Connection, key: str, balance_fen: int) -> None:
    """One row of the outbox, in whatever transaction the connection is in."""
    payload = {"loan": {"loan_id": key, "balance_fen": balance_fen}}
    await connection.execute(TELL, ["loan.repaid", key, json.dumps(payload), secrets.token_hex(8)])


async def project_until_warm(projector: CellProjector, copy: Copy, passfile: Path) -> Position:
    """Step until a look has found nothing to do; returns the position then."""
    async with await connect_copy(copy.place, passfile) as connection:
        local = LocalCopy(connection, projector.outbox)
        while await projector.step(local) or projector.state is not State.WARM:
            pass
        projector._written_at = 0.0
        await projector.step(local)
    held = await read_held(projector.valkey, "a")
    assert held.position is not None
    return held.position


async def expected_values(copy: Copy) -> dict[str, tuple[int, int]]:
    """What the cache has to hold: for each key the number and the balance of its newest row."""
    query = (
        "select distinct on (key) key, outbox_id, (payload->'loan'->>'balance_fen')::bigint"
        " from core.outbox where topic like 'loan.%' order by key, outbox_id desc"
    )
    async with await connect_as(copy, "biyi_read") as reader:
        return {key: (number, fen) for key, number, fen in await (await reader.execute(query)).fetchall()}


async def cached_values(valkey: Any) -> dict[str, tuple[int, int]]:
    """What a reader finds, for every key that is there."""
    found = {}
    async for name in valkey.scan_iter("biyi:a:value:*"):
        key = name.removeprefix("biyi:a:value:")
        value: Found | None = await read_value(valkey, "a", key)
        if value is not None:
            found[key.removeprefix(summary_key(""))] = (value.version, value.body["value"]["balance_fen"])
    return found


async def count_rows(copy: Copy) -> int:
    async with await connect_as(copy, "biyi_read") as reader:
        row = await (await reader.execute("select count(*) from core.outbox")).fetchone()
        assert row is not None
        return int(row[0])


async def assert_equal_to_the_copy(projector: CellProjector, copy: Copy, passfile: Path) -> Position:
    """Project, then compare everything: each row counted once, each value the newest."""
    position, rows = await project_until_warm(projector, copy, passfile), await count_rows(copy)
    end = time.monotonic() + CAUGHT_UP_SECONDS
    while position.applied < rows and time.monotonic() < end:
        position = await project_until_warm(projector, copy, passfile)
    assert position.applied == rows, f"{position.applied} applied of {rows} rows"
    assert await cached_values(projector.valkey) == await expected_values(copy)
    return position


async def in_time(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    await until(condition, what, 20)


def run_in_loop(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())


async def end(pair: Pair, server: Server) -> None:
    server.kill()
    await pair.end()
