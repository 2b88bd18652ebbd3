"""Joint loans on a real PostgreSQL: who funds, from which quota, split to the fen."""

import asyncio
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from core_app.commands import make_command
from core_app.errors import Refused
from core_app.funding.publish import deal_to_cells, stop_funder
from core_app.funding.service import Void, void_draw
from core_app.ids import Letter
from core_app.loans.draw import DrawWish, draw_loan
from core_app.loans.schedule import Instalment
from core_app.loans.split import split_amounts, split_plan
from core_app.loans.terms import funders
from tests.integration.core_app.lending import draw, repay
from tests.integration.core_app.partners import (
    JOINT,
    draw_contract,
    make_partner,
    publish,
    sign_joint,
)

BY_FUNDER = """
select funder, account, sum(amount_fen)::bigint from core.entries group by funder, account order by 1, 2
"""
UNBALANCED = """
select transaction_id, funder from core.entries group by 1, 2 having sum(amount_fen) <> 0
"""
USED = """
select funder, used_fen, day_used_fen, total_fen, day_fen, current_database() from core.funder_quotas
"""
SHARES = """
select funder, share, principal_fen, interest_fen, passed_over from core.loan_funders order by place
"""
STAKES = """
select f.funder, f.principal_fen from core.loan_funders f
where f.funder <> 'own' and not exists (select from core.draw_voids v where v.loan_id = f.loan_id)
"""


async def test_a_joint_loan_is_drawn_and_repaid_and_each_funder_has_its_part_to_the_fen(
    client: Any, core: Any, cells: Any
) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 100_000_000}))
    await publish(core, make_partner("bank_west", {"total_fen": 100_000_000}, cost_annual="0.04"))
    status, loan, _ = await draw_contract(client, await sign_joint(client))
    assert status == 201
    query = (
        "select funder, share, principal_fen, interest_fen, passed_over from core.loan_funders order by place"
    )
    (bank, bank_share, bank_principal, bank_interest, passed), own = await cells.rows(query)
    assert (bank, str(bank_share), bank_principal) == ("bank_west", "0.70000000", 840_000)
    assert (own[0], str(own[1]), own[2]) == ("own", "0.30000000", 360_000)
    assert [(one["funder"], one["why"]) for one in passed] == [("bank_east", "another one ranks before it")]

    rows = await cells.rows(
        "select period, due, principal_fen, interest_fen from core.instalments order by period"
    )
    product = core.catalogue.find_version(JOINT, 1)
    partner_parts, own_parts = split_plan([Instalment(*row) for row in rows], funders(product))
    assert sum(partner_parts.interest_fen) == bank_interest
    assert sum(own_parts.interest_fen) == own[3]

    _, shown, _ = await client.get(f"/v1/loans/{loan['loan_id']}/funding")
    assert [(one["funder"], one["share"]) for one in shown["funders"]] == [
        ("bank_west", "0.7"),
        ("own", "0.3"),
    ]
    assert [part["interest_fen"] for part in shown["funders"][0]["instalments"]] == list(
        partner_parts.interest_fen
    )
    assert (shown["payout"]["state"], shown["payout"]["amount_fen"]) == ("ordered", 1_200_000)
    assert (await client.get(f"/v1/loans/{loan['contract_id']}/funding"))[0] == 404

    # As the plan says for the first period; odd amounts after it; then all that is left.
    status, _, _ = await repay(client, loan["loan_id"], rows[0][2] + rows[0][3])
    assert status == 201
    booked = {(funder, account): fen for funder, account, fen in await cells.rows(BY_FUNDER)}
    assert booked["bank_west", "1321"] == 840_000 - partner_parts.principal_fen[0]
    assert booked["bank_west", "231401"] == -partner_parts.interest_fen[0]
    assert booked["own", "6011"] == -own_parts.interest_fen[0]
    left_fen = loan["outstanding_fen"] - rows[0][2] - rows[0][3]
    for part_fen in (1, 333, 77_777, 3, left_fen - 1 - 333 - 77_777 - 3):
        assert (await repay(client, loan["loan_id"], part_fen))[0] == 201
    booked = {(funder, account): fen for funder, account, fen in await cells.rows(BY_FUNDER)}
    assert (booked["bank_west", "1321"], booked["own", "1303"]) == (0, 0)
    assert (booked["bank_west", "231401"], booked["own", "6011"]) == (-bank_interest, -own[3])
    assert await cells.rows(UNBALANCED) == []


async def test_without_a_funder_the_draw_is_refused_with_reasons_and_leaves_no_row(
    client: Any, core: Any, cells: Any
) -> None:
    contract = await sign_joint(client)
    before = await cells.counts()
    status, problem, _ = await draw_contract(client, contract)
    assert (status, problem["errors"][0]["path"]) == (409, "funding.parties")
    assert "no funder is known" in problem["errors"][0]["found"]
    assert await cells.counts() == before
    await publish(core, make_partner("bank_small", {"day_fen": 100}))
    _, problem, _ = await draw_contract(client, contract)
    assert problem["errors"][0]["found"] == "bank_small: too little is left of its quota of the day"


async def test_a_loan_of_our_own_money_asks_no_funder_and_locks_no_quota(client: Any, cells: Any) -> None:
    await draw(client)
    assert await cells.rows("select funder, share::text, funder_version from core.loan_funders") == [
        ("own", "1.00000000", None)
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_draws_at_once_never_take_more_than_a_quota_and_are_refused_only_without_one(
    client: Any, core: Any, cells: Any, seed: int
) -> None:
    dice = random.Random(seed)
    quotas = [
        {"total_fen": dice.randrange(1_000_000, 3_000_000)},
        {"day_fen": dice.randrange(1_000_000, 3_000_000)},
        {"total_fen": 3_000_000, "day_fen": 2_000_000},
    ]
    for number, quota in enumerate(quotas):
        await publish(core, make_partner(f"bank_{number}", quota, cost_annual=f"0.0{number + 1}"))
    amounts = [dice.randrange(100_000, 1_500_000) for _ in range(24)]
    contracts = [await sign_joint(client, amount) for amount in amounts]  # so many at once would be shed
    answers = await asyncio.gather(*(draw_contract(client, contract) for contract in contracts))
    assert {answer[0] for answer in answers} == {201, 409}, "both, and no other: a check violation is a 500"

    taken: Counter[str] = Counter()
    for funder, fen in await cells.rows(STAKES):
        taken[funder] += fen
    used: Counter[str] = Counter()
    most_left: Counter[str] = Counter()
    for funder, used_fen, day_used_fen, total_fen, day_fen, database in await cells.rows(USED):
        used[funder] += used_fen
        assert used_fen == day_used_fen
        limit_fen = min(fen for fen in (total_fen, day_fen) if fen is not None)
        assert used_fen <= limit_fen
        most_left[database] = max(most_left[database], limit_fen - used_fen)
    assert used == taken
    for number, quota in enumerate(quotas):
        assert taken[f"bank_{number}"] <= min(quota.values())
    for amount, contract, answer in zip(amounts, contracts, answers, strict=True):
        if answer[0] == 409:  # quotas only shrink here, so what did not fit then fits nowhere now
            cell = core.cell_of_id(Letter.CONTRACT, contract)
            assert split_amounts([amount], [Decimal("0.7"), Decimal("0.3")])[0][0] > most_left[f"cell_{cell}"]


async def test_a_void_gives_quota_and_money_back_once_and_never_after_a_repayment(
    client: Any, core: Any, cells: Any
) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 100_000_000, "day_fen": 50_000_000}))
    _, loan, _ = await draw_contract(client, await sign_joint(client))
    loan_id = loan["loan_id"]
    ((seen_at,),) = await cells.rows("select changed_at from core.payout_orders")
    command = make_command(core, "void-test-0001", "void", {"loan_id": loan_id})
    with pytest.raises(Refused, match="touched since"):
        await void_draw(core, command, Void(loan_id, "refused", seen_at.replace(year=2020)))
    for _ in range(2):
        done = await void_draw(core, command, Void(loan_id, "refused by bank_a", seen_at))
        assert done.answer.body["voided_fen"] == 1_200_000
    assert {row[1:3] for row in await cells.rows(USED)} == {(0, 0)}
    assert {fen for *_, fen in await cells.rows(BY_FUNDER)} == {0}
    assert await cells.rows("select state, note from core.payout_orders") == [("failed", "refused by bank_a")]
    assert (await repay(client, loan_id, 1))[0] == 422
    _, shown, _ = await client.get(f"/v1/loans/{loan_id}")
    assert (shown["balance_fen"], shown["outstanding_fen"]) == (0, 0)
    told = await cells.rows("select payload from core.outbox where topic = 'loan.voided'")
    assert [row[0]["loan"] for row in told] == [shown]

    _, second, _ = await draw_contract(client, await sign_joint(client))
    assert (await repay(client, second["loan_id"], 1))[0] == 201
    query = f"select changed_at from core.payout_orders where loan_id = '{second['loan_id']}'"
    ((seen_at,),) = await cells.rows(query)
    command = make_command(core, "void-test-0002", "void", {"loan_id": second["loan_id"]})
    with pytest.raises(Refused, match="something was paid"):
        await void_draw(core, command, Void(second["loan_id"], "refused", seen_at))


async def test_a_quota_is_dealt_to_the_cells_and_evened_out_and_lowered_under_draws(
    client: Any, core: Any, cells: Any
) -> None:
    partner = make_partner("bank_east", {"total_fen": 10_000_000})
    parts = await publish(core, partner)
    assert [part.total_fen for part in parts.values()] == [5_000_000, 5_000_000]
    for _ in range(4):
        await draw_contract(client, await sign_joint(client, 1_000_000))
    dealt, _ = await asyncio.gather(
        deal_to_cells(core, partner, "deal-while-drawing"),
        asyncio.gather(*[draw_contract(client, await sign_joint(client, 500_000)) for _ in range(6)]),
    )
    rows = await cells.rows(USED)
    assert sum(part.total_fen or 0 for part in dealt.values()) <= 10_000_000
    assert sum(row[3] for row in rows) <= 10_000_000
    lowered = make_partner("bank_east", {"total_fen": 1_000_000}, version=2)
    parts = await publish(core, lowered)
    used_fen = [row[1] for row in await cells.rows(USED)]
    assert [part.total_fen for part in parts.values()] == used_fen, "all of it is lent already"
    assert (await draw_contract(client, await sign_joint(client, 10_000)))[0] == 409


async def test_a_stopped_funder_is_passed_over_until_it_is_started(client: Any, core: Any) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 10_000_000}))
    contract = await sign_joint(client)
    for cell in core.router.cells:
        await stop_funder(core, cell, "bank_east", "stop-0001", stopped=True)
    status, problem, _ = await draw_contract(client, contract)
    assert (status, problem["errors"][0]["found"]) == (409, "bank_east: stopped by the operator")
    for cell in core.router.cells:
        await stop_funder(core, cell, "bank_east", "start-0001", stopped=False)
    assert (await draw_contract(client, contract))[0] == 201


async def test_a_changed_document_needs_a_higher_version(core: Any, client: Any) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 1}))
    with pytest.raises(Refused, match="published with another document"):
        await publish(core, make_partner("bank_east", {"total_fen": 2}))


async def test_a_draw_repeated_takes_its_quota_once(core: Any, client: Any, cells: Any) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 10_000_000}))
    contract = await sign_joint(client)
    command = make_command(core, "draw-once-0001", "draw", {"contract_id": contract})
    answers = await asyncio.gather(*(draw_loan(core, command, DrawWish(contract)) for _ in range(5)))
    assert len({done.answer.body["loan_id"] for done in answers}) == 1
    assert sum(row[1] for row in await cells.rows(USED)) == 840_000
