"""Product versions published into a cell: the statements that write and find them.

The shipped catalogue comes first to hand; a row of core.product_versions adds a version to it. Both
are asked for what is on sale, and the higher version wins.
"""

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncCursor

from core_app.commands import (
    Answer,
    Claim,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.documents import make_canonical
from core_app.errors import FieldProblem, Kind, Refused
from core_app.outbox import Told
from core_app.products.catalogue import choose_on_sale, read_published
from core_app.products.model import Product

# On the day of a chunk of customers, or of the cell where the chunk is null.
SELECT_ON_SALE = """
select p.document
from core.product_versions p, core.read_day(%(chunk)s::smallint, %(today)s::date) as d (day)
where p.product = %(product)s and p.valid_from <= d.day and (p.valid_to is null or p.valid_to >= d.day)
order by p.version desc limit 1
"""

_SELECT_ALL_ON_SALE = """
select distinct on (p.product) p.document from core.product_versions p
where p.valid_from <= %(day)s and (p.valid_to is null or p.valid_to >= %(day)s)
order by p.product, p.version desc
"""

_SELECT_VERSION = "select document from core.product_versions where product = %s and version = %s"

_INSERT = """
insert into core.product_versions (product, version, document, document_sm3, valid_from, valid_to,
    published_on, idempotency_key)
select %(product)s, %(version)s, %(document)s, %(document_sm3)s, %(valid_from)s, %(valid_to)s,
    coalesce(b.on_date, %(today)s::date), %(key)s
from core.business_date b
"""


@dataclass(frozen=True, slots=True)
class OnSale:
    """A product asked for in a pipeline: sent, not yet read."""

    core: LendingCore
    product_id: str
    cursor: AsyncCursor[Any]

    async def fetch(self, day: dt.date) -> Product | None:
        """Return the version sold on `day`, shipped or published, None when there is none."""
        row = await self.cursor.fetchone()
        versions = [read_published(row[0])] if row else []
        shipped = self.core.catalogue.find_on_sale(self.product_id, day)
        return choose_on_sale([*versions, *([shipped] if shipped else [])], day)


async def ask_on_sale(
    core: LendingCore, connection: Connection, product_id: str, today: dt.date, chunk: int | None = None
) -> OnSale:
    """Send the question which published version of a product is sold; costs no round trip of its own.

    It is sold on the day of a customer's chunk, without one on the cell's; `today` is the calendar's day.
    """
    values = {"product": product_id, "chunk": chunk, "today": today}
    cursor = await connection.execute(SELECT_ON_SALE, values)
    return OnSale(core, product_id, cursor)


async def read_all_on_sale(core: LendingCore, connection: Connection, day: dt.date) -> tuple[Product, ...]:
    """Return every product sold on `day`, shipped or published, each in its highest version."""
    rows = await connection.execute(_SELECT_ALL_ON_SALE, {"day": day})
    versions = [read_published(document) for (document,) in await rows.fetchall()]
    versions += core.catalogue.versions.values()
    ids = sorted({product.id for product in versions})
    found = (choose_on_sale([p for p in versions if p.id == product_id], day) for product_id in ids)
    return tuple(product for product in found if product is not None)


async def find_version(core: LendingCore, connection: Connection, product_id: str, version: int) -> Product:
    """Return the version a contract was signed under; RuntimeError when the cell does not know it."""
    shipped = core.catalogue.find_version(product_id, version)
    if shipped is not None:
        return shipped
    rows = await connection.execute(_SELECT_VERSION, [product_id, version])
    row = await rows.fetchone()
    if row is None:
        raise RuntimeError(f"product {product_id} v{version}: a contract names it, no document of it is here")
    return read_published(row[0])


async def publish_version(core: LendingCore, cell: str, key: str, product: Product) -> Done:
    """Write a checked product version into one cell, once, under an idempotency key.

    The same product again is answered as before; Refused (409) when this version is another product. What is
    published is compared as it reads today: a default that the schema got since changes no document.
    """
    known = await _read_document(core, cell, product)
    same = known is not None and read_published(known) == product
    # A repeated request has the digest of the first: that of what was published then, to the letter.
    plain = json.loads(known) if known is not None and same else product.model_dump(mode="json")
    document, command = make_canonical(plain), make_command(core, key, "product", plain)

    async def work(connection: Connection, claim: Claim) -> Answer:
        earlier = await connection.execute(_SELECT_VERSION, [product.id, product.version])
        row = await earlier.fetchone()
        if row is not None and read_published(row[0]) != product:
            raise refuse_changed(product)
        if (answer := await read_earlier_answer(connection, claim)) is not None:
            return answer
        values = {
            "product": product.id,
            "version": product.version,
            "document": document.text,
            "document_sm3": document.sm3,
            "valid_from": product.identity.valid_from,
            "valid_to": product.identity.valid_to,
            "today": command.today,
            "key": command.key,
        }
        await connection.execute(_INSERT, values)
        body = {"product": product.id, "version": product.version, "document_sm3": document.sm3.hex()}
        told = Told("product.published", product.id, body)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)


async def _read_document(core: LendingCore, cell: str, product: Product) -> str | None:
    async def work(connection: Connection, _: int) -> str | None:
        rows = await connection.execute(_SELECT_VERSION, [product.id, product.version])
        row = await rows.fetchone()
        return None if row is None else str(row[0])

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


def refuse_changed(product: Product) -> Refused:
    """Return the refusal of a document that differs from the published one of its version."""
    found = f"{product.version}, which is published with another document"
    problem = FieldProblem("identity.version", found, "a higher version for a changed document")
    return Refused(Kind.CONFLICT, f"identity.version: {found}", problem)
