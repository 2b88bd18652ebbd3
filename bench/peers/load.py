"""The load: eight clients, each adds a unique row and moves money, and repeats under the same key.

The clients speak to the database itself, the same code for both sides. Looking for the primary is
shared: one client looks, as a pool would, the others wait for it.
"""

import asyncio
import random
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from bench.peers.records import Found, Op, Outcome, Transfer
from core_app.router_fate import Fate, UncertainCommit, decide_fate
from core_app.router_line import abort

Connection = psycopg.AsyncConnection[Any]

CLIENTS = 8
RATE_PER_CLIENT = 10.0
"""Operations a second of a client, if it need not wait longer for one. Source: our choice; far from
what two cores can do, so that neither side's failover waits for the processor."""
DEADLINE_SECONDS = 10.0
"""Patience of a client with one operation. Source: the API's own (core_app.router)."""
ACCOUNTS = 64
OPENING_FEN = 1_000_000
_LOOK_EVERY_SECONDS = 0.02

CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 2,
    "sslmode": "disable",
    "gssencmode": "disable",
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 3000,
}
SCHEMA = f"""
create schema peers;
create table peers.adds (key text primary key, debit int not null, credit int not null,
                         amount_fen bigint not null, tries int not null default 1);
create table peers.accounts (account int primary key, balance_fen bigint not null);
insert into peers.accounts select n, {OPENING_FEN} from generate_series(1, {ACCOUNTS}) as n;
grant usage on schema peers to biyi_app;
grant select, insert, update on all tables in schema peers to biyi_app;
"""
# A repeated key writes too: a transaction that wrote nothing would not wait for the other copy.
_ADD = (
    "insert into peers.adds as a (key, debit, credit, amount_fen) values (%s, %s, %s, %s)"
    " on conflict (key) do update set tries = a.tries + 1 returning tries = 1"
)
_MOVE = "update peers.accounts set balance_fen = balance_fen + %s where account = %s"


@dataclass(frozen=True, slots=True)
class Session:
    """A connection to a primary; `epoch` is what each transaction has to prove first, None for Patroni."""

    connection: Connection
    epoch: int | None


class Target(Protocol):
    """Where the writable primary is, as a client of that side finds out."""

    async def connect(self) -> Session:
        """Connect to it; psycopg.OperationalError or TimeoutError when there is none now."""


@dataclass(slots=True)
class _Flight:
    """One operation under way, shared by its client and the task that tries."""

    transfer: Transfer
    connection: Connection | None = None
    commit_sent: bool = False
    unknown: bool = False
    abandoned: bool = False
    tries: int = 0


class Load:
    """Runs the clients from `start` to `stop`, and keeps what each operation came to."""

    def __init__(self, target: Target, seed: int) -> None:
        self.ops: list[Op] = []
        self._target = target
        self._random = random.Random(seed)  # not for secrets
        self._sessions: dict[int, Session] = {}
        self._looking = asyncio.Lock()
        self._stopping = False
        self._clients: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]

    async def stop(self) -> list[Op]:
        """Let every operation under way end (its deadline bounds it); return all."""
        self._stopping = True
        await asyncio.gather(*self._clients)
        for session in self._sessions.values():
            await session.connection.close()
        return self.ops

    async def acknowledged_by(self, servers: Collection[int]) -> None:
        """Return once one of the `servers` (ports) has acknowledged a write; bounded by the caller.

        Raises what ended a client, should one have broken down.
        """
        while not any(op.server in servers for op in reversed(self.ops)):
            for client in self._clients:
                if client.done():
                    client.result()
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _client(self, number: int) -> None:
        due = time.monotonic() + number / CLIENTS / RATE_PER_CLIENT
        count = 0
        while not self._stopping:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1 / RATE_PER_CLIENT) + 1 / RATE_PER_CLIENT
            count += 1
            debit, credit = self._random.sample(range(1, ACCOUNTS + 1), 2)
            transfer = Transfer(f"{number}-{count}", debit, credit, self._random.randint(1, 500))
            await self._perform(number, _Flight(transfer))

    async def _perform(self, number: int, flight: _Flight) -> None:
        """Try one operation until its deadline; a COMMIT that was sent is cut off, never cancelled."""
        begun_ns = time.monotonic_ns()
        task = asyncio.create_task(self._try_until_done(number, flight))
        done, _ = await asyncio.wait({task}, timeout=DEADLINE_SECONDS)
        if not done:
            flight.abandoned = True
            if flight.connection is not None:
                abort(flight.connection)
            else:
                task.cancel()
            await asyncio.wait({task})
        if task.cancelled() or (server := task.result()) is None:
            lost = flight.unknown or flight.commit_sent
            outcome, server = (Outcome.UNKNOWN if lost else Outcome.NOT_DONE), None
        else:
            outcome = Outcome.OK
        self.ops.append(Op(flight.transfer, begun_ns, time.monotonic_ns(), outcome, server, flight.tries))

    async def _try_until_done(self, number: int, flight: _Flight) -> int | None:
        """Return the port of the server that acknowledged it; None when nobody waits any more."""
        while not flight.abandoned:
            session = self._sessions.get(number) or await self._find()
            self._sessions[number] = session
            flight.connection = session.connection
            flight.tries += 1
            try:
                await _transact(session, flight)
                return session.connection.info.port
            except (psycopg.Error, UncertainCommit) as error:
                lost = session.connection.closed or session.connection.broken
                fate = decide_fate(error, commit_sent=flight.commit_sent, connection_lost=lost)
                if fate is Fate.FINAL:
                    raise
                flight.unknown |= fate is Fate.UNKNOWN
                flight.commit_sent = False
                del self._sessions[number]
                abort(session.connection)
                await session.connection.close()
            finally:
                flight.connection = None
        return None

    async def _find(self) -> Session:
        async with self._looking:
            while True:
                try:
                    return await self._target.connect()
                except (psycopg.OperationalError, TimeoutError, OSError):
                    await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _transact(session: Session, flight: _Flight) -> None:
    """Run one transaction; returns only when it is certainly committed."""
    warnings: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        warnings.append(notice.sqlstate or "")

    transfer, connection = flight.transfer, session.connection
    moves = sorted([(transfer.debit, -transfer.amount_fen), (transfer.credit, transfer.amount_fen)])
    connection.add_notice_handler(note)
    try:
        async with connection.pipeline():
            await connection.execute(b"begin")
            if session.epoch is not None:
                await connection.execute("select biyi.require_epoch(%s)", [session.epoch])
            row = (transfer.key, transfer.debit, transfer.credit, transfer.amount_fen)
            added = await (await connection.execute(_ADD, row)).fetchone()
            if added == (True,):
                for account, change in moves:  # in order, so that two transfers never deadlock
                    await connection.execute(_MOVE, (change, account))
            flight.commit_sent = True
            commit = await connection.execute(b"commit")
        if "01000" in warnings:
            raise UncertainCommit
        if commit.statusmessage != "COMMIT":
            raise RuntimeError(f"COMMIT was answered with {commit.statusmessage}")
    finally:
        connection.remove_notice_handler(note)


async def read_back(target: Target) -> Found:
    """Read what stands on the primary now."""
    connection = (await target.connect()).connection
    async with connection:
        rows = await (
            await connection.execute("select key, debit, credit, amount_fen from peers.adds")
        ).fetchall()
        balances = await (
            await connection.execute("select account, balance_fen from peers.accounts")
        ).fetchall()
    return Found(tuple(Transfer(*row) for row in rows), dict(balances))
