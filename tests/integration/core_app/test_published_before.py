"""What was published stays published, whatever defaults its schema gets later."""

from collections.abc import Mapping
from typing import Any

import pytest

from core_app.commands import Answer, Claim, finish_command, make_command, read_earlier_answer, run_command
from core_app.core import Connection
from core_app.documents import make_canonical
from core_app.errors import Refused
from core_app.funding.publish import publish_funder
from core_app.outbox import Told
from runbooks.product import publish_to_cell
from tests.integration.core_app.partners import make_partner
from tests.integration.core_app.test_rules_at_the_api import make_version

PRODUCT = """
insert into core.product_versions (product, version, document, document_sm3, valid_from, published_on,
    idempotency_key)
values (%(id)s, %(version)s, %(document)s, %(sm3)s, '2026-01-01', '2026-01-01', %(key)s)
"""
FUNDER = """
insert into core.funder_versions (funder, version, document, document_sm3, published_on, idempotency_key)
values (%(id)s, %(version)s, %(document)s, %(sm3)s, '2026-01-01', %(key)s)
"""


async def publish_by_an_older_schema(
    core: Any, cell: str, kind: str, key: str, values: Mapping[str, Any]
) -> None:
    """Publish as a version that did not know all of today's parameters: document and digest are its own."""
    plain, statement = values["plain"], values["statement"]
    canonical, command = make_canonical(plain), make_command(core, key, kind, plain)

    async def work(connection: Connection, claim: Claim) -> Answer:
        assert await read_earlier_answer(connection, claim) is None
        row = {"id": values["id"], "version": values["version"], "key": key}
        await connection.execute(statement, row | {"document": canonical.text, "sm3": canonical.sm3})
        body = {"document_sm3": canonical.sm3.hex()}
        return await finish_command(connection, claim, 201, body, Told(f"{kind}.published", "x", body))

    await run_command(core, cell, command, work)


async def test_a_product_published_before_a_default_was_added_is_there_and_a_changed_one_refused(
    core: Any, cells: Any
) -> None:
    product = make_version(2)
    older = product.model_dump(mode="json")
    del older["pricing"]["grid"], older["channels"]["scene"]
    written = {"plain": older, "statement": PRODUCT, "id": product.id, "version": 2}
    for cell in core.router.cells:
        await publish_by_an_older_schema(core, cell, "product", f"product-{product.id}-2", written)
    rows = await cells.rows("select document, document_sm3 from core.product_versions")
    for cell in core.router.cells:
        assert (await publish_to_cell(core, cell, product))["outcome"] == "was there"
        changed = await publish_to_cell(core, cell, make_version(2, channels={"scene": "travel"}))
        assert changed["outcome"] == "refused"
        assert "published with another document" in changed["detail"]
    assert await cells.rows("select document, document_sm3 from core.product_versions") == rows


async def test_a_funder_published_before_a_default_was_added_is_there_and_a_changed_one_refused(
    core: Any,
) -> None:
    funder, key = make_partner("bank_east", {"total_fen": 5}), "funder-bank_east-1"
    older = funder.model_dump(mode="json")
    del older["regions"]
    cell = core.router.cells[0]
    written = {"plain": older, "statement": FUNDER, "id": funder.id, "version": 1}
    await publish_by_an_older_schema(core, cell, "funder", key, written)
    assert (await publish_funder(core, cell, key, funder)).answer.replayed
    with pytest.raises(Refused, match="published with another document"):
        await publish_funder(
            core, cell, key, make_partner("bank_east", {"total_fen": 5}, regions=["region_31"])
        )
