"""Read payout orders from each cell's primary, and the banks' own books."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.model import Grant
from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.drills.payout_checkers import BookLine, CellPayouts, EventRow, OrderRow, Payouts
from runbooks.drills.read_rows import Unreadable, check_is_granted, connect_granted
from runbooks.stand.fake_bank import read_book
from runbooks.stand.outside import book_path

_ORDERS = "select order_id, loan_id, amount_fen, state, channel from core.payout_orders order by order_id"
_EVENTS = "select order_id, state, channel, at from core.payout_events order by event_id"
_LOOK_EVERY_S = 0.5


async def read_payouts(settings: SiteSettings) -> Payouts:
    """Return each cell's payouts from its granted primary, None where that does not answer now."""
    cells = [cell.name for cell in settings.cells]
    try:
        async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
            grants = (await read_world(etcd)).grants
    except EtcdUnavailable:
        return dict.fromkeys(cells)
    found = await asyncio.gather(*(_read_cell(settings, grants[cell].grant) for cell in cells))
    return dict(zip(cells, found, strict=True))


async def wait_until_final(settings: SiteSettings, within_s: float) -> Payouts:
    """Return the payouts once every order is paid or failed, or as they are when `within_s` is over."""
    end = time.monotonic() + within_s
    while True:
        found = await read_payouts(settings)
        orders = [order for cell in found.values() if cell for order in cell.orders]
        final = all(found.values()) and all(order.state in ("paid", "failed") for order in orders)
        if final or time.monotonic() > end:
            return found
        await asyncio.sleep(_LOOK_EVERY_S)


def read_books(home: Path, banks: Sequence[str]) -> tuple[BookLine, ...]:
    """Return every payment in the banks' books."""
    return tuple(
        BookLine(bank, line["order_id"], line["amount_fen"], line["asked"])
        for bank in banks
        for line in read_book(book_path(home, bank))
    )


async def _read_cell(settings: SiteSettings, grant: Grant) -> CellPayouts | None:
    try:
        async with await connect_granted(settings, grant) as connection:
            await connection.execute("set transaction isolation level repeatable read, read only")
            await check_is_granted(connection, grant)
            orders = await (await connection.execute(_ORDERS)).fetchall()
            events = await (await connection.execute(_EVENTS)).fetchall()
    except (psycopg.Error, Unreadable):
        return None
    return CellPayouts(tuple(OrderRow(*row) for row in orders), tuple(EventRow(*row) for row in events))
