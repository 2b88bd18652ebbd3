"""Pages that show several customers: search, the list of one's own, export. Each row is a look of its own.

Cells are asked one after the other; the last one tells the page as a whole. Everything is recorded, in every
cell, before anything is opened.
"""

import asyncio
import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_PHONE
from compliance.protection.masking import Profile
from core_app.core import Connection, LendingCore
from core_app.customers.identity import find_id_number_fault, normalise, read_mobile
from core_app.errors import refuse_field
from core_app.ids import Letter, derive_customer_id, is_customer_id, make_routed_id
from core_app.staff.looks import Kind, Purpose, Subject, Viewer, Wish, record_of
from core_app.staff.service import SEALED, open_person

FIELDS = ("name", "id_number", "phone")
MOST_HITS = 20
"""Rows of one search. Source: our choice; a phone belongs to a family, not to a branch."""

_FIND = "select * from core.find_customers(%s, %s, %s)"
_RECORD = "select look_id, customer_id from core.record_looks(%s)"
_PAGE = "select core.record_page(%s, %s, %s)"
_ASSIGNED = """
select customer_id, until_at from core.staff_assignments
where staff = %s and until_at > now() order by customer_id limit %s
"""
_ASSIGN = "select * from core.assign_customers(%s, %s, %s, %s)"


class Action(enum.StrEnum):
    """What a page is."""

    SEARCH = "search"
    LIST = "list"
    EXPORT = "export"


_ROW_KIND = {Action.SEARCH: Kind.SEARCH_HIT, Action.LIST: Kind.LIST_ROW, Action.EXPORT: Kind.EXPORT_ROW}


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for: why, and as what. `by_field`: what a search is by."""

    action: Action
    purpose: Purpose
    case_id: str | None
    by_field: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One customer of a page, opened and masked."""

    look_id: str
    customer_id: str
    person: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as shown."""

    page_id: str
    rows: tuple[Row, ...]


async def search(core: LendingCore, viewer: Viewer, page: Page, value: str) -> Shown:
    """Find customers by a whole phone or ID number, through its blind index, and show them strictly masked.

    Refused (422) when it is no such number; a search without a hit is recorded too.
    """
    cells, indexes = _where(core, page.by_field, value)
    page_id = core.new_id(Letter.LOOK, 0)
    rows: list[Row] = []
    for cell in cells:
        ask = _Ask(page_id, cell == cells[-1], len(rows), indexes=indexes)
        rows.extend(await _page_of_cell(core, cell, viewer, page, ask))
    return Shown(page_id, tuple(rows))


async def show_customers(
    core: LendingCore, viewer: Viewer, page: Page, customer_ids: Sequence[str] | None, most: int
) -> Shown:
    """Show the named customers, or those assigned to the viewer (None), strictly masked; at most `most`."""
    page_id = core.new_id(Letter.LOOK, 0)
    rows: list[Row] = []
    cells = core.router.cells
    for cell in cells:
        own = None
        if customer_ids is not None:
            own = [one for one in customer_ids if is_customer_id(one) and core.cell_of_customer(one) == cell]
        ask = _Ask(page_id, cell == cells[-1], len(rows), ids=own, most=most - len(rows))
        rows.extend(await _page_of_cell(core, cell, viewer, page, ask))
    return Shown(page_id, tuple(rows))


async def count_assigned(core: LendingCore, staff: str, most: int) -> int:
    """Return how many customers are somebody's now, at most `most`; shows nobody."""

    async def count(cell: str) -> int:
        async def work(connection: Connection, _epoch: int) -> int:
            return len(await (await connection.execute(_ASSIGNED, [staff, most])).fetchall())

        return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value

    return min(most, sum(await asyncio.gather(*map(count, core.router.cells))))


async def assign(core: LendingCore, by: str, staff: str, customer_ids: Sequence[str], days: int) -> list[str]:
    """Make customers somebody's for `days` days (0: no longer); returns those that exist."""
    if by == staff:
        raise refuse_field("body.staff", "one's own name", "somebody else: nobody assigns to themselves")
    by_home: dict[tuple[int, ...], list[str]] = {}
    for customer_id in filter(is_customer_id, customer_ids):
        by_home.setdefault(core.cell_of_customer(customer_id).chunks, []).append(customer_id)
    done: list[str] = []
    for ids in by_home.values():
        cell = core.cell_of_customer(ids[0])

        async def work(connection: Connection, _epoch: int, ids: list[str] = ids) -> list[str]:
            return [
                row[0] for row in await (await connection.execute(_ASSIGN, [staff, ids, days, by])).fetchall()
            ]

        done += (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value
    return sorted(done)


def make_csv(core: LendingCore, viewer: Viewer, shown: Shown, fields: Sequence[str], at: dt.datetime) -> str:
    """Return an export as CSV text whose every line names who took it, when, and a mark only we can make."""
    stamp = f"{viewer.staff} {at:%Y-%m-%dT%H:%M:%SZ} {shown.page_id}"
    mark = core.vault.request_digest(f"watermark|{stamp}".encode()).hex()[:16]
    lines = [f"# Biyi export, masked. {stamp} {mark}", ",".join(("customer_id", *fields, "taken_by", "mark"))]
    for row in shown.rows:
        values = [row.customer_id, *(row.person.get(field, "") for field in fields), viewer.staff]
        # Each row its own mark: a single line that turns up somewhere tells where it came from.
        own = core.vault.request_digest(f"watermark|{stamp}|{row.customer_id}".encode()).hex()[:16]
        lines.append(",".join(f'"{value}"' for value in (*values, own)))
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Ask:
    """What one cell is asked for: indexes, ids, or (neither) what is assigned to the viewer.

    `tells`: this cell tells the page as a whole, with the rows shown `elsewhere` added.
    """

    page_id: str
    tells: bool
    elsewhere: int
    indexes: list[bytes] | None = None
    ids: Sequence[str] | None = None
    most: int = MOST_HITS


def _where(core: LendingCore, by_field: str | None, value: str) -> tuple[tuple[str, ...], list[bytes]]:
    plain = normalise(value)
    if by_field == "id_number":
        if (fault := find_id_number_fault(plain)) is not None:
            raise refuse_field("body.value", fault, "an 18-character ID number (GB 11643)")
        customer_id = derive_customer_id(core.vault.customer_id_key, plain)
        return (core.cell_of_customer(customer_id),), core.vault.search_indexes(CUSTOMER_ID_NUMBER, plain)
    mobile = read_mobile(plain)
    if mobile is None:
        raise refuse_field("body.value", "a text that is no mobile number", "a mainland mobile number")
    return core.router.cells, core.vault.search_indexes(CUSTOMER_PHONE, mobile)


async def _page_of_cell(core: LendingCore, cell: str, viewer: Viewer, page: Page, ask: _Ask) -> list[Row]:
    """Record and read one cell's part of a page; opened after its commit."""
    own_page = ask.page_id if ask.tells else core.new_id(Letter.LOOK, 0)

    async def work(connection: Connection, _epoch: int) -> list[tuple[Any, ...]]:
        ids = await _ids(connection, viewer, page, ask)
        record = {**asdict(viewer), **asdict(page), "page_id": own_page, "site": core.site, "rows": len(ids)}
        await connection.execute(_PAGE, [Jsonb(record), ask.tells, ask.elsewhere])
        wishes = [_wish(core, viewer, page, own_page, customer_id) for customer_id in ids]
        looks = dict(
            (row[1], row[0]) for row in await (await connection.execute(_RECORD, [Jsonb(wishes)])).fetchall()
        )
        sealed = await (await connection.execute(SEALED, [ids])).fetchall()
        return [(looks[row[0]], *row) for row in sealed]

    done = await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)
    return [
        Row(look_id, customer_id, open_person(core, FIELDS, customer_id, sealed, Profile.STRICT))
        for look_id, customer_id, *sealed in done.value
    ]


async def _ids(connection: Connection, viewer: Viewer, page: Page, ask: _Ask) -> list[str]:
    if ask.indexes is not None:
        rows = await connection.execute(_FIND, [page.by_field, ask.indexes, ask.most])
    elif ask.ids is not None:
        return list(dict.fromkeys(ask.ids))[: ask.most]
    else:
        rows = await connection.execute(_ASSIGNED, [viewer.staff, max(0, ask.most)])
    return [row[0] for row in await rows.fetchall()]


def _wish(core: LendingCore, viewer: Viewer, page: Page, page_id: str, customer_id: str) -> dict[str, Any]:
    wish = Wish(
        Subject.CUSTOMER,
        customer_id,
        FIELDS,
        clear=False,
        purpose=page.purpose,
        case_id=page.case_id,
        kind=_ROW_KIND[page.action],
        page_id=page_id,
    )
    # Made of the page and the customer: run again after a failover, it is the same look.
    unique = core.vault.request_digest(f"look|{page_id}|{customer_id}".encode())[:16]
    look_id = make_routed_id(Letter.LOOK, core.slot_of_customer(customer_id), uuid.UUID(bytes=unique))
    return record_of(look_id, core.site, viewer, wish)
