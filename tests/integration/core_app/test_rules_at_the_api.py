"""Quotes, the cost table and rules over HTTP; product versions published into cells."""

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import yaml

from core_app.documents import compute_sm3
from core_app.products.catalogue import FOLDER, read_product
from core_app.products.model import Product
from core_app.products.published import publish_version
from core_app.rules.legal import make_rulebook
from runbooks.product import publish_to_cell
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import apply, confirm, draw, register, repay

QUOTE = {"product": "instalment-12", "amount_fen": 1_200_000, "periods": 12}
DAY_OF_RULE = "2026-08-01"


def set_business_date(cells: Any, day: str) -> None:
    for database in cells.databases.values():
        statement = f"update core.business_date set on_date = '{day}'"
        cells.server.run("psql", "-U", "biyi_owner", "-d", database, "-qc", statement)


def make_version(version: int, **changes: dict[str, Any]) -> Product:
    document = yaml.safe_load((FOLDER / "instalment-12.yaml").read_text(encoding="utf-8"))
    document["identity"]["version"] = version
    for group, values in changes.items():
        document[group] |= values
    return read_product("test.yaml", yaml.safe_dump(document, allow_unicode=True))


async def publish(core: Any, product: Product) -> list[dict[str, str]]:
    return [await publish_to_cell(core, cell, product) for cell in core.router.cells]


async def test_a_quote_shows_schedule_cost_and_cost_table_and_records_nothing(
    client: Any, cells: Any
) -> None:
    before = await cells.counts()
    status, quoted, _ = await client.send("POST", "/v1/quotes", json=QUOTE)
    assert status == 200
    assert [line["total_fen"] for line in quoted["schedule"]] == [110_016] * 11 + [110_019]
    assert (quoted["annual_cost_simple"], quoted["annual_cost_compound"]) == ("0.1800", "0.1956")
    text = json.dumps(quoted["cost_table"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert compute_sm3(text.encode()).hex() == quoted["cost_table_sm3"]
    assert await cells.counts() == before


async def test_a_loan_repaid_anytime_is_quoted_without_a_schedule(client: Any) -> None:
    wish = {"product": "revolving-anytime", "amount_fen": 1_000_000, "periods": 12}
    status, quoted, _ = await client.send("POST", "/v1/quotes", json=wish)
    assert (status, quoted["schedule"], quoted["annual_cost_simple"]) == (200, [], "0.1825")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"product": "no-such"}, "body.product"),
        ({"amount_fen": 1}, "body.amount_fen"),
        ({"periods": 7}, "body.periods"),
        ({"purpose": "Nice Things"}, "body.purpose"),
        ({"colour": 1}, "body.colour"),
    ],
)
async def test_a_bad_quote_names_its_field(client: Any, change: dict[str, Any], path: str) -> None:
    status, problem, _ = await client.send("POST", "/v1/quotes", json=QUOTE | change)
    assert (status, problem["errors"][0]["path"]) == (422, path)
    assert "rules" not in problem


async def test_a_rule_refuses_a_quote_with_its_id_value_limit_day_and_source(client: Any) -> None:
    status, problem, headers = await client.send("POST", "/v1/quotes", json=QUOTE | {"purpose": "business"})
    assert (status, problem["type"]) == (422, "urn:biyi:problem:rule-refused")
    assert headers["Content-Type"] == "application/problem+json"
    (broken,) = problem["rules"]
    assert (broken["rule"], broken["found"], broken["on"]) == ("cfc.scope.purpose", "business", "2026-01-15")
    assert broken["limit"].startswith("one of: household_goods")
    assert broken["source"]
    assert problem["errors"][0]["path"] == "body.purpose"


async def test_a_posting_that_a_rule_of_its_day_forbids_is_refused_and_leaves_no_row(
    client: Any, core: Any, cells: Any
) -> None:
    (old,) = (row for row in core.catalogue.rulebook.rows if row.key == "penalty.multiple.max")
    ended = old.model_copy(update={"last_day": dt.date(2026, 3, 24)})
    newer = old.model_copy(update={"first_day": dt.date(2026, 3, 25), "value": Decimal("1.4")})
    stricter = make_rulebook([*(row for row in core.catalogue.rulebook.rows if row != old), ended, newer])
    changed = replace(core, catalogue=replace(core.catalogue, rulebook=stricter))
    loan = await draw(client)
    async with serve_api(changed, None) as bound:
        set_business_date(cells, "2026-03-25")  # two instalments are late: penalty is due
        before = await cells.counts()
        status, problem, _ = await repay(bound, loan["loan_id"], 30_000)
        assert status == 422
        (broken,) = problem["rules"]
        assert (broken["rule"], broken["found"], broken["on"]) == (
            "penalty.multiple.max",
            "1.5",
            "2026-03-25",
        )
        assert await cells.counts() == before
        set_business_date(cells, "2026-03-24")
        assert (await repay(bound, loan["loan_id"], 30_000))[0] == 201


async def test_an_application_for_a_forbidden_or_foreign_use_is_recorded_with_the_rule(client: Any) -> None:
    customer_id = await register(client)
    reasons = {}
    for purpose in ("business", "medical", "travel"):
        wish = QUOTE | {"customer_id": customer_id, "purpose": purpose}
        status, decided, _ = await client.post("/v1/applications", wish)
        assert status == 201
        reasons[purpose] = [reason["rule"] for reason in decided["reasons"]]
    assert reasons == {"business": ["cfc.scope.purpose"], "medical": ["product.purposes"], "travel": []}


async def test_from_the_first_of_august_nothing_is_signed_without_the_confirmed_cost_table(
    client: Any, cells: Any
) -> None:
    set_business_date(cells, DAY_OF_RULE)
    decided = await apply(client, await register(client))
    good = confirm(decided)
    before = await cells.counts()
    for change, rules in (
        ({"cost_table_sm3": None}, {"cost.table.confirmed"}),
        ({"cost_table_sm3": "0" * 64}, {"cost.table.confirmed"}),
        ({"cost_table_read_seconds": 4}, {"cost.table.read"}),
    ):
        status, problem, _ = await client.post("/v1/contracts", good | change)
        assert (status, {rule["rule"] for rule in problem["rules"]}) == (422, rules)
    assert await cells.counts() == before
    status, contract, _ = await client.post("/v1/contracts", good)
    assert (status, contract["cost_table_sm3"]) == (201, decided["cost_table_sm3"])


async def test_the_cost_table_is_kept_as_it_was_shown(client: Any, cells: Any) -> None:
    decided = await apply(client, await register(client))
    _, contract, _ = await client.post("/v1/contracts", confirm(decided) | {"cost_table_read_seconds": 9})
    columns = "contract_id, document, document_sm3, confirmed, read_seconds, shown_on::text"
    (row,) = await cells.rows(f"select {columns} from core.cost_tables")
    assert row[0] == contract["contract_id"]
    assert json.loads(row[1]) == decided["cost_table"]
    assert bytes(row[2]) == compute_sm3(row[1].encode())
    assert bytes(row[2]).hex() == decided["cost_table_sm3"]
    assert row[3:] == (True, 9, "2026-01-15")


async def test_two_products_together_may_not_pass_the_legal_line(client: Any, core: Any) -> None:
    big = {"amount": {"max_fen": 20_000_000}, "limits": {"customer_fen": 20_000_000}}
    await publish(core, make_version(2, **big))
    customer_id = await register(client)
    first = await apply(client, customer_id, 19_800_000)
    bill = {"product": "bill-small-ticket", "amount_fen": 200_001, "periods": 3, "customer_id": customer_id}
    _, second, _ = await client.post("/v1/applications", bill)
    assert (first["decision"], second["decision"]) == ("approved", "approved")
    assert (await client.post("/v1/contracts", confirm(first)))[0] == 201
    status, problem, _ = await client.post("/v1/contracts", confirm(second))
    assert (status, [(r["rule"], r["found"], r["limit"]) for r in problem["rules"]]) == (
        422,
        [("cfc.line", "20000001", "<= 20000000 fen")],
    )
    _, third, _ = await client.post("/v1/applications", bill)
    (reason,) = third["reasons"]
    assert (third["decision"], reason["rule"], reason["value"]) == ("refused", "cfc.line", 20_000_001)
    assert (reason["on"], reason["limit"], third["limit_fen"]) == ("2026-01-15", "<= 20000000 fen", 200_000)
    _, fourth, _ = await client.post("/v1/applications", bill | {"amount_fen": 200_000})
    assert fourth["decision"] == "approved"


async def test_a_published_version_is_sold_at_once_and_old_loans_keep_theirs(
    client: Any, core: Any, cells: Any
) -> None:
    old = await draw(client)
    cheaper = make_version(
        2,
        pricing={"rate_annual": "0.12"},
        allocation={"normal": "by_component"},
    )
    assert {row["outcome"] for row in await publish(core, cheaper)} == {"published"}
    _, quoted, _ = await client.send("POST", "/v1/quotes", json=QUOTE)
    assert (quoted["product_version"], quoted["annual_cost_simple"]) == (2, "0.1200")
    new = await draw(client)
    loans = await cells.rows("select loan_id, product_version from core.loans")
    assert dict(loans) == {old["loan_id"]: 1, new["loan_id"]: 2}
    assert (await repay(client, new["loan_id"], 1_000))[0] == 201
    assert (await repay(client, old["loan_id"], 1_000))[0] == 201


async def test_overdue_components_are_paid_in_the_order_of_the_loans_own_version(
    client: Any, core: Any, cells: Any
) -> None:
    orders = {"normal": "by_component", "non_performing": "principal_first"}
    await publish(core, make_version(2, allocation=orders))
    loan = await draw(client)
    set_business_date(cells, "2026-03-25")
    _, first, _ = await repay(client, loan["loan_id"], 30_000)
    # Both fallen instalments' penalties (26.22 and 7.00), then their interest, before any principal.
    parts = (first["penalty_fen"], first["interest_fen"], first["principal_fen"])
    assert parts == (3_322, 30_000 - 3_322, 0)
    set_business_date(cells, "2026-05-17")
    _, second, _ = await repay(client, loan["loan_id"], 30_000)
    assert (second["interest_fen"], second["principal_fen"]) == (0, 30_000)


async def test_an_application_of_an_earlier_version_has_to_be_made_anew(client: Any, core: Any) -> None:
    decided = await apply(client, await register(client))
    await publish(core, make_version(2))
    status, problem, _ = await client.post("/v1/contracts", confirm(decided))
    assert (status, problem["errors"][0]["path"]) == (409, "body.application_id")
    assert "not on offer" in problem["errors"][0]["found"]


async def test_publishing_again_changes_nothing_and_a_changed_document_is_refused(
    core: Any, cells: Any
) -> None:
    product = make_version(2)
    await publish(core, product)
    rows = await cells.rows("select product, version, document_sm3, document from core.product_versions")
    assert {row["outcome"] for row in await publish(core, product)} == {"was there"}
    changed = make_version(2, penalty={"multiple": "1.4"})
    for row in await publish(core, changed):
        assert row["outcome"] == "refused"
        assert "published with another document" in row["detail"]
    assert (
        await cells.rows("select product, version, document_sm3, document from core.product_versions") == rows
    )
    assert {(row[0], row[1]) for row in rows} == {("instalment-12", 2)}
    assert all(bytes(row[2]) == compute_sm3(row[3].encode()) for row in rows)
    told = await cells.rows("select topic, payload ->> 'version' from core.outbox")
    assert told == [("product.published", "2")] * 2


async def test_a_changed_document_under_another_key_is_refused_too(core: Any) -> None:
    cell = core.router.cells[0]
    await publish(core, make_version(2))
    changed = make_version(2, penalty={"multiple": "1.4"})
    with pytest.raises(Exception, match=r"identity\.version: 2, which is published with another document"):
        await publish_version(core, cell, "another-key-1", changed)


async def test_a_version_is_not_sold_before_its_first_day(client: Any, core: Any, cells: Any) -> None:
    await publish(
        core, make_version(2, identity={"valid_from": "2026-09-01"}, pricing={"rate_annual": "0.1"})
    )
    for day, version in (("2026-08-31", 1), ("2026-09-01", 2)):
        set_business_date(cells, day)
        _, quoted, _ = await client.send("POST", "/v1/quotes", json=QUOTE)
        assert quoted["product_version"] == version


async def test_a_merged_bill_is_due_on_the_bill_day_with_interest_by_day(client: Any) -> None:
    wish = {
        "product": "bill-small-ticket",
        "amount_fen": 30_000,
        "periods": 3,
        "customer_id": await register(client),
    }
    _, decided, _ = await client.post("/v1/applications", wish)
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    assert [line["due"] for line in contract["schedule"]] == ["2026-02-10", "2026-03-10", "2026-04-10"]
    # 300 yuan for 26 days at 12 % of 360.
    assert contract["schedule"][0]["interest_fen"] == 260
    status, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert (status, loan["next_due"]) == (201, "2026-02-10")


@pytest.mark.parametrize("table", ["cost_tables", "product_versions"])
@pytest.mark.parametrize(
    "change", ["update core.{} set document = ''", "delete from core.{}", "truncate core.{}"]
)
async def test_what_was_shown_and_published_cannot_be_changed_by_its_owner(
    client: Any, core: Any, cells: Any, table: str, change: str
) -> None:
    await draw(client)
    await publish(core, make_version(2))
    for user, state in (("biyi_owner", "BY103"), ("biyi_app", "42501")):
        for database in cells.databases.values():
            dsn = cells.server.dsn(database, user)
            async with await psycopg.AsyncConnection.connect(dsn) as connection:
                with pytest.raises(psycopg.Error) as refused:
                    await connection.execute(change.format(table))
            assert refused.value.sqlstate == state
