"""Read what a sandbox looks at: the last days' applications, contracts and postings, and one evening.

Each cell is read in one read-only, repeatable-read transaction as a role that may only select. Exposures are
those of today: what a customer owes besides the loan in question.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from core_app.core import Connection
from core_app.products.catalogue import Catalogue, choose_on_sale, read_published
from core_app.products.model import Product
from core_app.rules.legal import LegalRow, Stage
from core_app.rules.measure import (
    Confirmation,
    Offer,
    measure_contract,
    measure_posting,
    measure_product,
    measure_quote,
)
from core_app.sandbox.compare import Balance, Item
from core_app.slots import chunk_of_slot
from core_app.yaml_documents import parse_yaml, read_text

Connect = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Gives a connection to a cell that may read what biyi_report may."""
BATCH = 2_000
"""Rows held at a time. Source: our choice; some hundred kilobytes."""
_ROWS = TypeAdapter(tuple[LegalRow, ...])

_PUBLISHED = "select document from core.product_versions"
_OWED = """
owed as (
    select customer_id, contract_id, sum(balance_fen)::bigint as fen from core.loans
    where settled_on is null and written_off_on is null group by customer_id, contract_id
)"""
_APPLICATIONS = f"""
with {_OWED}
select a.application_id, a.product, a.product_version, a.amount_fen, a.periods, a.decided_on, a.purpose,
       coalesce((select sum(o.fen) from owed o left join core.contracts c using (contract_id)
           where o.customer_id = a.customer_id and c.application_id <> a.application_id), 0)::bigint
from core.applications a where a.decided_on > %(since)s order by a.application_id
"""  # noqa: S608 - our own text
_CONTRACTS = f"""
with {_OWED}
select c.contract_id, c.product, c.product_version, c.amount_fen, c.periods, c.signed_on, a.purpose,
       coalesce((select sum(o.fen) from owed o
           where o.customer_id = c.customer_id and o.contract_id <> c.contract_id), 0)::bigint,
       coalesce(t.confirmed, false), coalesce(t.read_seconds, 0)
from core.contracts c join core.applications a using (application_id)
left join core.cost_tables t using (contract_id)
where c.signed_on > %(since)s order by c.contract_id
"""  # noqa: S608
_POSTINGS = """
select r.repayment_id, l.product, l.product_version, r.interest_fen, r.penalty_fen, r.fee_fen
from core.repayments r join core.loans l using (loan_id)
where r.booked_on > %(since)s order by r.repayment_id
"""
_BALANCES = """
select %(cell)s, substr(l.loan_id, 2, 3), l.product, l.channel, l.region, s.days_past_due,
       sum(core.own_part(s.loan_id, s.balance_fen))::bigint
from core.loan_snapshots s join core.loans l using (loan_id)
where s.on_date = (select on_date - 1 from core.business_date) and s.balance_fen > 0
group by 2, 3, 4, 5, 6 order by 2, 3, 4, 5, 6
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked at: business after `since`, products sold on `today`, asked as of `day`."""

    since: dt.date
    today: dt.date
    day: dt.date


def read_rows(file: Path) -> tuple[LegalRow, ...]:
    """Return the rows of a file in the shape of rules/parameters.yaml; DocumentInvalid names a bad field."""
    return parse_yaml(file.name, read_text(file), _ROWS)


@asynccontextmanager
async def open_copy(connect: Connect, cell: str) -> AsyncIterator[Connection]:
    """Yield a cell as it is at this moment; nothing can be written through it."""
    async with connect(cell) as connection, connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        yield connection


async def read_products(connection: Connection, catalogue: Catalogue) -> Mapping[tuple[str, int], Product]:
    """Return all product versions, shipped and published."""
    rows = await (await connection.execute(_PUBLISHED)).fetchall()
    published = [read_published(document) for (document,) in rows]
    return dict(catalogue.versions) | {(one.id, one.version): one for one in published}


def list_products(products: Mapping[tuple[str, int], Product], wish: Wish) -> list[Item]:
    """Return the versions that are on sale."""
    names = sorted({name for name, _ in products})
    sold = (choose_on_sale((p for p in products.values() if p.id == name), wish.today) for name in names)
    return [
        Item("product", Stage.PUBLICATION, one.reference, measure_product(one, wish.day))
        for one in sold
        if one is not None
    ]


async def read_items(
    connection: Connection, products: Mapping[tuple[str, int], Product], wish: Wish
) -> AsyncIterator[Item]:
    """Yield a cell's quotes (each application is one), contracts and postings after `wish.since`, by id."""
    async for row in _stream(connection, "applications", _APPLICATIONS, wish):
        item_id, product, version, amount, periods, on, purpose, owed = row
        offer = Offer(amount, periods, on, purpose)
        yield Item("quote", Stage.QUOTE, item_id, measure_quote(products[product, version], offer, (owed,)))
    async for row in _stream(connection, "contracts", _CONTRACTS, wish):
        item_id, product, version, amount, periods, on, purpose, owed, confirmed, seconds = row
        offer = Offer(amount, periods, on, purpose)
        measures = measure_contract(
            products[product, version], offer, (owed,), Confirmation(confirmed, seconds)
        )
        yield Item("contract", Stage.CONTRACT, item_id, measures)
    async for row in _stream(connection, "postings", _POSTINGS, wish):
        item_id, product, version, interest, penalty, fee = row
        booked = {"interest": interest, "penalty": penalty, "instalment_fee": fee}
        yield Item("posting", Stage.POSTING, item_id, measure_posting(products[product, version], booked))


async def read_balances(connection: Connection, cell: str) -> list[Balance]:
    """Return the newest evening a cell has closed: our parts by days past due, grouped as day-end rounds."""
    rows = await (await connection.execute(_BALANCES, {"cell": cell})).fetchall()
    return [Balance(_group(row[:5]), *row[5:]) for row in rows]


def _group(row: Sequence[str]) -> tuple[str, ...]:
    """Return the closing's group; a loan's id carries its slot in hex."""
    cell, slot, *others = row
    return (cell, str(chunk_of_slot(int(slot, 16))), *others)


async def _stream(
    connection: Connection, name: str, query: str, wish: Wish
) -> AsyncIterator[tuple[Any, ...]]:
    async with connection.cursor(f"sandbox_{name}") as cursor:
        cursor.itersize = BATCH
        await cursor.execute(query, {"since": wish.since})
        async for row in cursor:
            yield row
