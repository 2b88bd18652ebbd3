"""A fake bank: a process of its own with a durable book, so that it can be killed and its book compared.

`python -m runbooks.stand.fake_bank --book FILE --port N`. It stands for a world outside both sites. It
keeps the contract of `core_app.funding.channel`, for payouts under /v1/payments and for debits under
/v1/debits, and breaks down on demand: `POST /v1/fault` with a mode.
"""

import asyncio
import datetime as dt
import enum
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
from aiohttp import web
from aiohttp.typedefs import Middleware

from core_app.funding.clearing import Clearing, Kind, write_clearing
from replication.gate import admit_only
from replication.tls import OPERATOR, open_identity

_SCHEMA = """
create table if not exists book (
    order_id text primary key, amount_fen integer not null, payee text not null, fate text not null,
    at text not null
);
create table if not exists asked (order_id text not null, at text not null);
"""
_PAID = """
select b.order_id, b.amount_fen, b.at, (select count(*) from asked a where a.order_id = b.order_id)
from book b where fate = 'paid' and order_id like ? order by b.at
"""
_BOOKED_ON = """
select order_id, amount_fen from book
where fate = 'paid' and order_id like ? and date(at, '+8 hours') = ? order by order_id
"""
HELD_BACK_S = 0.15
"""How long a request is held back. Source: our choice, longer than a test waits before it asks."""
HANG_S = 60.0
"""How long a hanging bank keeps its caller. Source: our choice, far above any caller's patience."""


class Fault(enum.StrEnum):
    """How the bank breaks down."""

    NONE = "none"
    REFUSE = "refuse"
    CUT_BEFORE = "cut_before"
    """Cuts the connection, nothing booked."""
    CUT_AFTER = "cut_after"
    """Books, then cuts the connection."""
    CUT_THEN_BOOK = "cut_then_book"
    """Cuts the connection at once and books a moment later, as when the network holds a request back."""
    HANG_BEFORE = "hang_before"
    HANG_AFTER = "hang_after"


class Book:
    """What the bank knows, on disk before it is answered."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("pragma synchronous = full")
        self._connection.executescript(_SCHEMA)

    def note_asked(self, order_id: str, at: dt.datetime) -> None:
        """Remember that a payment was asked for."""
        self._connection.execute("insert into asked values (?, ?)", (order_id, at.isoformat()))

    def settle(self, body: dict[str, Any], now: dt.datetime, *, refuse: bool) -> str:
        """Return the fate of an order: as booked before, else booked now, unless it came too late."""
        known = self.find(body["order_id"])
        if known is not None:
            return known
        if now > dt.datetime.fromisoformat(body["valid_until"]):
            return "expired"
        fate = "refused" if refuse else "paid"
        row = (body["order_id"], body["amount_fen"], body["payee"], fate, now.isoformat())
        self._connection.execute("insert into book values (?, ?, ?, ?, ?)", row)
        return fate

    def find(self, order_id: str) -> str | None:
        """Return the fate that stands in the book, None when there is none."""
        rows = self._connection.execute("select fate from book where order_id = ?", (order_id,))
        with closing(rows):
            row = rows.fetchone()
        return None if row is None else str(row[0])

    def booked_on(self, day: dt.date, letter: str) -> dict[str, int]:
        """Return what was booked on a calendar day in Shanghai, by order."""
        rows = self._connection.execute(_BOOKED_ON, (f"{letter}%", day.isoformat()))
        with closing(rows):
            return dict(rows.fetchall())

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def read_book(path: Path, letter: str = "P") -> list[dict[str, Any]]:
    """Return the payments in a bank's book, beside or without its process; none when there is no book.

    Numbers of payouts begin with P, those of debits with D.
    """
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(_PAID, (f"{letter}%",)).fetchall()
    return [dict(zip(("order_id", "amount_fen", "at", "asked"), row, strict=True)) for row in rows]


def make_bank(
    book: Book, read_now: Callable[[], dt.datetime], gate: tuple[Middleware, ...] = ()
) -> web.Application:
    """Return the bank's HTTP face."""
    table = web.RouteTableDef()
    fault = [Fault.NONE]

    def answer(fate: str, as_of: dt.datetime) -> web.Response:
        return web.json_response({"fate": fate, "as_of": as_of.isoformat()})

    async def break_down(request: web.Request, cut: Fault, hang: Fault) -> None:
        if fault[0] is hang:
            await asyncio.sleep(HANG_S)
        if fault[0] is cut and request.transport is not None:
            request.transport.abort()

    @table.post("/v1/{kind:payments|debits}")
    async def post_payment(request: web.Request) -> web.Response:
        body = await request.json()
        await break_down(request, Fault.CUT_BEFORE, Fault.HANG_BEFORE)
        if fault[0] is Fault.CUT_BEFORE:
            return web.Response(status=500)  # to nobody: the connection is cut
        if fault[0] is Fault.CUT_THEN_BOOK and request.transport is not None:
            request.transport.abort()
            await asyncio.sleep(HELD_BACK_S)
        now = read_now()
        book.note_asked(body["order_id"], now)
        fate = book.settle(body, now, refuse=fault[0] is Fault.REFUSE)
        await break_down(request, Fault.CUT_AFTER, Fault.HANG_AFTER)
        return answer(fate, now)

    @table.get("/v1/{kind:payments|debits}/{order_id}")
    async def get_payment(request: web.Request) -> web.Response:
        now = read_now()  # before the look: what is not found then can only be booked later
        return answer(book.find(request.match_info["order_id"]) or "not_found", now)

    @table.get("/v1/{kind:payments|debits}/clearing/{day}")
    async def get_clearing(request: web.Request) -> web.Response:
        kind: Kind = "payments" if request.match_info["kind"] == "payments" else "debits"
        day = dt.date.fromisoformat(request.match_info["day"])
        lines = book.booked_on(day, "P" if kind == "payments" else "D")
        return web.Response(text=write_clearing(Clearing(book.name, kind, day, lines)))

    @table.post("/v1/fault")
    async def post_fault(request: web.Request) -> web.Response:
        fault[0] = Fault((await request.json())["mode"])
        return web.json_response({"mode": str(fault[0])})

    application = web.Application(middlewares=gate)
    application.add_routes(table)
    return application


@click.command()
@click.option("--book", "book_file", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int, required=True)
@click.option(
    "--tls", "tls_dir", type=click.Path(path_type=Path), help="Its certificate; without: plain HTTP."
)
def main(book_file: Path, port: int, tls_dir: Path | None) -> None:
    """Be a bank until SIGTERM."""
    asyncio.run(_serve(book_file, port, tls_dir))


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - the bank's own clock


async def _serve(book_file: Path, port: int, tls_dir: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    book_file.parent.mkdir(parents=True, exist_ok=True)
    book = Book(book_file)
    async with open_identity(tls_dir, book_file.stem) as identity:
        bank = make_bank(book, _read_now, admit_only(identity, {"payer", OPERATOR}, {"payer", OPERATOR}))
        runner = web.AppRunner(bank, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=identity.serving()).start()
        await stop.wait()
        with suppress(asyncio.CancelledError):
            await runner.cleanup()
    book.close()


if __name__ == "__main__":
    main()
