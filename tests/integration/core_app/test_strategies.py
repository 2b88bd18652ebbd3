"""A challenger is tested back, takes over by two people on a day in all cells, and hands back."""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from core_app.commands import make_command
from core_app.decisions.strategy import Strategy, set_strategy
from core_app.errors import Refused
from core_app.ids import Letter
from core_app.router import CellUnavailable
from tests.integration.core_app.lending import apply, confirm, register
from tests.integration.core_app.people import LI
from tests.integration.core_app.versions import publish_change

MAIN, CHALLENGER = "credit-main", "credit-challenger"
# An application again and again, as both models might have seen it: the points of main and challenger.
COPY = """
with copied as (
    insert into core.applications (application_id, customer_id, product, product_version, amount_fen, periods,
        decision, reasons, limit_fen, decided_on, idempotency_key)
    select concat('made-up-', {main}, '-', {challenger}, '-{day}-', n), customer_id, product, product_version,
        amount_fen, periods, decision, reasons, limit_fen, '{day}', 'made-up'
    from core.applications, generate_series(1, {count}) n where application_id = '{application_id}'
    returning application_id
)
insert into core.decision_steps (application_id, ordinal, step, outcome, elapsed_us, budget_ms, reasons,
    facts)
select c.application_id, s.ordinal, s.step, s.outcome, s.elapsed_us, s.budget_ms, s.reasons,
    jsonb_set(jsonb_set(s.facts, '{{main,points}}', '{main}'), '{{challenger,points}}', '{challenger}')
from copied c, core.decision_steps s where s.application_id = '{application_id}' and s.step = 'score'
"""
LATE = """
insert into core.loan_snapshots (on_date, loan_id, customer_id, product, product_version, balance_fen,
    principal_overdue_fen, interest_overdue_fen, penalty_fen, days_past_due, asset_class, by_60_days,
    non_accrual, interest_receivable_fen, penalty_receivable_fen, off_balance_fen)
select '2026-01-14', loan_id, customer_id, product, product_version, balance_fen, 1, 0, 0, 5,
    'special_mention', false, false, 0, 0, 0
from core.loans
"""


def wish(valid_from: str, model: str = CHALLENGER, **more: Any) -> dict[str, Any]:
    return {"model": model, "valid_from": valid_from, "reason": "fewer late", "staff": "li.wei"} | more


async def look_back(client: Any, model: str) -> tuple[int, ...]:
    status, found, _ = await client.get(f"/v1/strategies/back-test?model={model}")
    assert status == 200, found
    names = ("decided", "passed_by_both", "passed_by_model_only", "passed_by_other_only")
    loans = ("loans_let_in", "late_let_in", "loans_kept_out", "late_kept_out")
    return tuple(found[name] for name in (*names, *loans))


async def lend_and_copy(
    client: Any, core: Any, cells: Any, oldest: str = "2025-10-18", by_both: int = 60
) -> None:
    """Leave one loan, and `by_both` and 45 more applications that both models scored.

    Ten of them on the `oldest` day, by default the last that is looked back to from 2026-01-15.
    """
    decided = await apply(client, await register(client))
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    assert (await client.post("/v1/draws", {"contract_id": contract["contract_id"]}))[0] == 201
    application_id = decided["application_id"]
    database = cells.databases[core.cell_of_id(Letter.APPLICATION, application_id)]
    for main, challenger, count, day in (
        (600, 550, by_both, "2026-01-10"),
        (550, 549, 30, "2026-01-10"),
        (549, 550, 10, oldest),
        (400, 400, 5, "2026-01-10"),
        (600, 600, 7, "2025-10-17"),  # longer ago than is looked back
    ):
        named = {"main": main, "challenger": challenger, "count": count, "day": day}
        cells.run_sql(database, COPY.format(application_id=application_id, **named))


async def deciding(client: Any, core: Any) -> set[tuple[str, str]]:
    """Return which models decide and challenge a new application, in each of the cells."""
    found, asked = set(), set()
    while asked != set(core.router.cells):
        customer_id = await register(client)
        asked.add(core.cell_of_customer(customer_id))
        decided = await apply(client, customer_id, 100_000)
        _, shown, _ = await client.get(f"/v1/applications/{decided['application_id']}")
        (facts,) = (step["facts"] for step in shown["steps"] if step["step"] == "score")
        found.add((facts["main"]["model"], facts["challenger"]["model"]))
    return found


async def test_a_back_test_counts_what_each_model_lets_in_and_what_became_of_it(
    client: Any, core: Any, cells: Any
) -> None:
    await lend_and_copy(client, core, cells)
    before = await cells.counts()
    assert await look_back(client, CHALLENGER) == (106, 61, 10, 30, 1, 0, 0, 0)
    assert await look_back(client, MAIN) == (106, 61, 30, 10, 1, 0, 0, 0)
    assert await cells.counts() == before, "nothing is recorded"
    for database in cells.databases.values():
        cells.run_sql(database, "update core.loans set written_off_on = '2026-01-14'")
    assert await look_back(client, CHALLENGER) == (106, 61, 10, 30, 1, 1, 0, 0)
    for database in cells.databases.values():
        cells.run_sql(database, "update core.loans set written_off_on = null")
        cells.run_sql(database, LATE)
    assert await look_back(client, CHALLENGER) == (106, 61, 10, 30, 1, 1, 0, 0)
    await publish_change(core, risk={"score_floor": 900})  # nobody gets so far
    assert await look_back(client, CHALLENGER) == (106, 0, 0, 0, 0, 0, 1, 1)
    status, problem, _ = await client.get("/v1/strategies/back-test?model=tarot")
    assert (status, problem["errors"][0]["path"]) == (422, "query.model")


KEPT = (
    "select number, model, other, valid_from::text, back_test ->> 'decided' from core.strategies order by 1"
)


async def test_a_challenger_takes_over_by_two_people_on_a_day_in_all_cells_and_hands_back(
    client: Any, core: Any, cells: Any
) -> None:
    status, problem, _ = await client.post("/v1/strategies", wish("2026-01-17"))
    assert (status, problem["errors"][0]["path"]) == (409, "body.model")
    assert problem["errors"][0]["found"].startswith("0 applications that both")
    await lend_and_copy(client, core, cells, oldest="2026-01-01", by_both=53)
    status, problem, _ = await client.post("/v1/strategies", wish("2026-01-17"))
    assert (status, problem["errors"][0]["found"].split()[0]) == (409, "99")
    await apply(client, await register(client))  # the hundredth
    status, kept, _ = await client.post("/v1/strategies", wish("2026-01-17"), "take-over-1")
    assert (status, kept["other"], kept["back_test"]["decided"]) == (201, MAIN, 100)
    assert await cells.rows(KEPT) == [(1, CHALLENGER, MAIN, "2026-01-17", "100")] * 2
    assert await deciding(client, core) == {(MAIN, CHALLENGER)}
    cells.set_business_date("2026-01-17")
    assert await deciding(client, core) == {(CHALLENGER, MAIN)}
    assert (await client.post("/v1/strategies", wish("2026-01-17"), "take-over-1"))[:2] == (201, kept)
    for model in (CHALLENGER, MAIN):  # of one day the last one counts
        status, back, _ = await client.post("/v1/strategies", wish("2026-01-19", model))
        assert status == 201
    assert (back["number"], back["other"]) == (3, CHALLENGER)
    assert await deciding(client, core) == {(CHALLENGER, MAIN)}
    cells.set_business_date("2026-01-19")
    assert await deciding(client, core) == {(MAIN, CHALLENGER)}


async def counts_without_approvals(cells: Any) -> dict[str, int]:
    """Return the rows of every table; that somebody asked and approved is told in the outbox and stays."""
    told = await cells.rows("select count(*) from core.outbox where topic not like 'staff.%'")
    return dict(await cells.counts()) | {"outbox": sum(count for (count,) in told)}


async def test_what_is_wrong_for_one_cell_or_asked_by_one_person_is_kept_in_none(
    client: Any, core: Any, cells: Any
) -> None:
    await lend_and_copy(client, core, cells, oldest="2025-10-19")  # in cell b it is a day later
    cells.run_sql(cells.databases["b"], "update core.business_date set on_date = '2026-01-16'")
    before = await counts_without_approvals(cells)
    for wrong, path in (
        ({"valid_from": "2026-01-17"}, "body.valid_from"),
        ({"model": "credit-bureau"}, "body.model"),
        ({"staff": "wang.fang"}, "body.staff"),
    ):
        status, problem, _ = await client.post("/v1/strategies", wish("2026-01-18") | wrong)
        assert (status, problem["errors"][0]["path"]) == (422, path)
    alone = {"headers": {**LI, "Idempotency-Key": "strategy-alone-1"}, "json": wish("2026-01-18")}
    assert (await client.send("POST", "/v1/strategies", **alone))[0] == 403
    assert await counts_without_approvals(cells) == before
    assert (await client.post("/v1/strategies", wish("2026-01-18")))[0] == 201
    assert len(await cells.rows(KEPT)) == 2


@dataclass(frozen=True, slots=True)
class WithoutWritesTo:
    """The router of a core, but for one cell's primary, which goes away after it was read."""

    cell: str
    router: Any

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(self.router.cells)

    @property
    def directory(self) -> Any:
        return self.router.directory

    async def read(self, cell: str, work: Any, *, deadline_seconds: float = 10.0) -> Any:
        return await self.router.read(cell, work, deadline_seconds=deadline_seconds)

    async def write(self, cell: str, work: Any, *, deadline_seconds: float = 10.0) -> Any:
        if cell == self.cell:
            raise CellUnavailable(cell, "not_done")
        return await self.router.write(cell, work, deadline_seconds=deadline_seconds)


async def test_a_cell_that_was_away_gets_what_the_first_one_kept_when_it_is_asked_again(
    client: Any, core: Any, cells: Any
) -> None:
    await lend_and_copy(client, core, cells)
    asked = wish("2026-01-17")
    strategy = Strategy(**(asked | {"valid_from": dt.date(2026, 1, 17)}))
    command = make_command(core, "take-over-2", "strategy", asked)
    with pytest.raises(CellUnavailable):
        await set_strategy(replace(core, router=WithoutWritesTo("b", core.router)), command, strategy)
    assert len(await cells.rows(KEPT)) == 1
    await apply(client, await register(client))  # what is tested back has grown meanwhile
    await set_strategy(core, command, strategy)
    assert await cells.rows(KEPT) == [(1, CHALLENGER, MAIN, "2026-01-17", "106")] * 2


async def test_a_cell_that_comes_back_after_the_day_refuses_it_and_a_later_date_brings_them_together(
    client: Any, core: Any, cells: Any
) -> None:
    await lend_and_copy(client, core, cells, oldest="2025-10-19")  # in cell b it will be a day later
    asked = wish("2026-01-17")
    strategy = Strategy(**(asked | {"valid_from": dt.date(2026, 1, 17)}))
    command = make_command(core, "take-over-3", "strategy", asked)
    with pytest.raises(CellUnavailable):
        await set_strategy(replace(core, router=WithoutWritesTo("b", core.router)), command, strategy)
    cells.run_sql(cells.databases["b"], "update core.business_date set on_date = '2026-01-16'")
    with pytest.raises(Refused) as late:
        await set_strategy(core, command, strategy)
    assert [problem.path for problem in late.value.errors] == ["body.valid_from"]
    assert len(await cells.rows(KEPT)) == 1, "the cell goes on as before"
    assert (await client.post("/v1/strategies", wish("2026-01-18")))[0] == 201
    cells.set_business_date("2026-01-18")
    assert await deciding(client, core) == {(CHALLENGER, MAIN)}


@pytest.mark.parametrize("change", ["update {} set model = 'x'", "delete from {}", "truncate {}"])
async def test_what_was_once_set_is_never_changed(cells: Any, change: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        await cells.rows(change.format("core.strategies"))
    assert refused.value.sqlstate == "BY103"
