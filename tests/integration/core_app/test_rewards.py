"""A lower rate for those who pay on time: booked on the loan as known answer eleven has it, once."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from core_app.business_calendar import add_months
from core_app.commands import make_command
from core_app.day_end.service import Step, do_chunk
from core_app.documents import make_canonical
from core_app.errors import Refused
from core_app.loans.reward import grant_reward, grant_rewards
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import draw, repay
from tests.integration.core_app.test_rules_at_the_api import make_version, publish

PAYMENT_FEN = 110_016
REWARD = {"reward": {"after_periods": 6, "unit": "points", "cut": "0.005"}}


async def close_day(core: Any, cells: Any, loan: Any, day: dt.date) -> None:
    cells.set_business_date(str(day))
    cell, chunk = core.cell_of_customer(loan["customer_id"]), core.chunk_of_customer(loan["customer_id"])
    for step in Step:
        await do_chunk(core, cell, (day, step, chunk))
    cells.set_business_date(str(day + dt.timedelta(days=1)))


async def pay_periods(client: Any, core: Any, cells: Any, loan: Any, periods: range) -> None:
    """Pay on each due date, and let day-end look at the evening."""
    for period in periods:
        due = add_months(TODAY, period)
        cells.set_business_date(str(due))
        assert (await repay(client, loan["loan_id"], PAYMENT_FEN))[0] == 201
        await close_day(core, cells, loan, due)


async def grant_all(core: Any) -> list[str]:
    return [loan_id for cell in core.router.cells for loan_id in await grant_rewards(core, cell)]


async def test_six_instalments_on_time_lower_the_rate_of_the_rest_once(
    client: Any, core: Any, cells: Any
) -> None:
    await publish(core, make_version(2, pricing=REWARD))
    loan = await draw(client)
    loan_id = loan["loan_id"]
    await pay_periods(client, core, cells, loan, range(1, 6))
    assert await grant_all(core) == [], "five of six"
    await pay_periods(client, core, cells, loan, range(6, 7))
    found = await asyncio.gather(grant_all(core), grant_all(core))
    assert {one for granted in found for one in granted} == {loan_id}
    assert await grant_all(core) == []

    _, shown, _ = await client.get(f"/v1/loans/{loan_id}/rate-changes")
    (change,) = shown["changes"]
    assert (change["rate_before"], change["rate_after"], change["from_period"]) == ("0.18", "0.175", 7)
    assert [line["total_fen"] for line in change["schedule"]] == [109_860] * 5 + [109_863]
    assert change["interest_saved_fen"] == 33_316 - 32_380
    assert [line["due"] for line in change["schedule"]] == [
        add_months(TODAY, period).isoformat() for period in range(7, 13)
    ]
    sm3 = change.pop("document_sm3")
    assert make_canonical(change).sm3.hex() == sm3
    assert await cells.rows("select rate_annual::text, plan_version from core.loans") == [("0.17500000", 2)]

    _, standing, _ = await client.get(f"/v1/loans/{loan_id}")
    assert (standing["balance_fen"], standing["next_due_fen"]) == (626_783, 109_860)
    assert standing["outstanding_fen"] == 109_860 * 5 + 109_863
    await close_day(core, cells, loan, add_months(TODAY, 6) + dt.timedelta(days=10))
    snapshot = (
        "select interest_receivable_fen, days_past_due from core.loan_snapshots order by on_date desc limit 1"
    )
    # Ten of 31 days of the seventh period's interest: 6,267.83 at 17.5 % for a month are 91.41.
    assert (2_949, 0) in await cells.rows(snapshot)
    for period in range(7, 13):
        cells.set_business_date(str(add_months(TODAY, period)))
        due_fen = (await client.get(f"/v1/loans/{loan_id}"))[1]["next_due_fen"]
        assert (await repay(client, loan_id, due_fen))[0] == 201
    assert (await client.get(f"/v1/loans/{loan_id}"))[1]["status"] == "settled"
    income = await cells.rows(
        "select -sum(interest_fen)::bigint, sum(principal_fen)::bigint from core.repayments"
    )
    assert (-(120_195 - 33_316 + 32_380), 1_200_000) in income


async def test_one_late_evening_takes_the_reward_away_and_its_paper_cannot_be_changed(
    client: Any, core: Any, cells: Any
) -> None:
    await publish(core, make_version(2, pricing={"reward": REWARD["reward"] | {"after_periods": 1}}))
    late, early, part = await draw(client), await draw(client), await draw(client)
    due = add_months(TODAY, 1)
    await close_day(core, cells, late, due + dt.timedelta(days=1))
    outstanding = (await client.get(f"/v1/loans/{late['loan_id']}"))[1]["next_due_fen"]
    assert (await repay(client, late["loan_id"], outstanding))[0] == 201
    cells.set_business_date(str(due))
    for loan, more in ((early, 0), (part, 5_000)):
        assert (await repay(client, loan["loan_id"], PAYMENT_FEN + more))[0] == 201
    with pytest.raises(Refused, match="no day-end has looked at"):
        await grant_reward(core, make_command(core, "reward-by-hand", "reward", {}), early["loan_id"])
    for loan in (early, part):
        await close_day(core, cells, loan, due)
    assert await grant_all(core) == [early["loan_id"]]
    for loan, why in ((late, "was past due"), (part, "paid in part ahead"), (early, "was lowered")):
        with pytest.raises(Refused, match=why):
            await grant_reward(core, make_command(core, "reward-by-hand", "reward", {}), loan["loan_id"])
    for database in cells.databases.values():
        with pytest.raises(Exception, match="psql"):
            cells.run_sql(database, "update core.rate_changes set rate_after = 0")
