"""Repayments in one transaction: each has the effect it has alone, or none, whoever stands beside it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from core_app.commands import Done, make_command
from core_app.errors import Kind, Refused
from core_app.loans.repay import WantedRepayment, post_repayments, want_repayment
from core_app.loans.together import AT_ONCE, GroupQueue, Outcome
from tests.integration.core_app.lending import draw, register
from tests.integration.core_app.portfolio import PRODUCTS, lend

OVERDUE_BY_SOME = "2026-04-20"
STANDS = """
select l.loan_id, l.principal_paid_fen, l.interest_paid_fen, l.penalty_paid_fen, l.open_period,
       l.interest_fen, l.interest_fen_days, l.settled_on, h.reserved_fen, h.used_fen,
       (select array_agg((n.node, n.reserved_fen, n.used_fen)::text order by n.node) from core.limits n
        where n.customer_id = l.customer_id),
       (select array_agg((t.period, t.fen_days, t.counted_to, t.penalty_paid_fen)::text order by t.period)
        from core.late_lines t where t.loan_id = l.loan_id),
       (select array_agg((e.account, e.amount_fen, e.funder)::text order by e.entry_id)
        from core.entries e where e.loan_id = l.loan_id),
       (select array_agg((r.amount_fen, r.penalty_fen, r.interest_fen, r.principal_fen)::text
                         order by r.number)
        from core.repayments r where r.loan_id = l.loan_id)
from core.loans l join core.limit_holds h using (contract_id)
"""


def want(core: Any, key: str, loan_id: str, amount_fen: int) -> WantedRepayment:
    body = {"loan_id": loan_id, "amount_fen": amount_fen}
    return want_repayment(core, make_command(core, key, "repayment", body), loan_id, amount_fen)


async def post(core: Any, wanted: Sequence[WantedRepayment]) -> dict[str, Outcome]:
    """Post each cell's together."""
    by_cell: dict[str, list[WantedRepayment]] = defaultdict(list)
    for one in wanted:
        by_cell[one.cell].append(one)
    found: dict[str, Outcome] = {}
    for group in by_cell.values():
        found |= zip((one.key for one in group), await post_repayments(core, group, 10.0), strict=True)
    return found


async def draw_in_one_cell(client: Any, core: Any, count: int) -> list[str]:
    """Return so many loans of different customers of one cell."""
    loans: dict[str, list[str]] = defaultdict(list)
    while max(map(len, loans.values()), default=0) < count:
        loan_id = (await draw(client, 100_000, 3))["loan_id"]
        loans[core.router.cells[0] if loan_id[1:4] < "200" else core.router.cells[1]].append(loan_id)
    return max(loans.values(), key=len)


async def lend_all(client: Any) -> list[str]:
    """Lend every product to two customers, and to each once more under the line."""
    loans = []
    for _ in range(2):
        customer_id = await register(client)
        for product, (_, most, periods) in PRODUCTS.items():
            if product != "revolving-anytime":
                loan = await lend(client, customer_id, product, most // 100_000 * 10_000, periods[-1])
                loans.append(str(loan["loan_id"]))
        loan = await lend(client, customer_id, "revolving-anytime", 1_000_000, 12)
        loans.append(str(loan["loan_id"]))
        await client.post(
            "/v1/repayments", {"loan_id": loan["loan_id"], "amount_fen": 600_000}
        )  # room for a second draw
        again = {"contract_id": loan["contract_id"], "amount_fen": 500_000}
        status, second, _ = await client.post("/v1/draws", again)
        assert status == 201, second
        loans.append(str(second["loan_id"]))
    return loans


async def test_together_is_what_one_by_one_is(client: Any, core: Any, cells: Any) -> None:
    """Every product, overdue and not, two loans of one line, several of one customer."""
    alone, together = await lend_all(client), await lend_all(client)
    cells.set_business_date(OVERDUE_BY_SOME)
    dice = random.Random(4)
    for turn in range(3):
        amounts = [dice.choice((1, 3_000, 10_000)) for _ in alone]
        for number, (loan_id, amount_fen) in enumerate(zip(alone, amounts, strict=True)):
            found = await post(core, [want(core, f"alone-{turn}-{number:04d}", loan_id, amount_fen)])
            assert all(isinstance(one, Done) for one in found.values()), found
        wanted = [
            want(core, f"together-{turn}-{number:04d}", loan_id, amount_fen)
            for number, (loan_id, amount_fen) in enumerate(zip(together, amounts, strict=True))
        ]
        dice.shuffle(wanted)
        assert all(isinstance(one, Done) for one in (await post(core, wanted)).values())
    stands = {loan_id: rest for loan_id, *rest in await cells.rows(STANDS)}
    assert [stands[one] for one in together] == [stands[one] for one in alone]
    assert any(row[7 + 3] for row in stands.values()), "nothing was late: the case is too easy"


async def test_who_is_refused_leaves_no_row_and_the_others_are_posted(
    client: Any, core: Any, cells: Any
) -> None:
    loans = await draw_in_one_cell(client, core, 4)
    before = await cells.counts()
    unknown = f"{loans[0][:5]}{0:032x}"
    wanted = [
        want(core, "together-good-1", loans[0], 500),
        want(core, "together-too-much", loans[1], 10**9),
        want(core, "together-good-2", loans[2], 700),
        want(core, "together-unknown", unknown, 1),
    ]
    found = await post(core, wanted)
    refused = {key: one for key, one in found.items() if isinstance(one, Refused)}
    assert set(refused) == {"together-too-much", "together-unknown"}
    assert {one.epoch for one in refused.values()} == {7}
    after = await cells.counts()
    changed = {table: after[table] - count for table, count in before.items() if after[table] != count}
    assert changed == {"commands": 2, "repayments": 2, "outbox": 2, "entries": 4}
    again = await post(core, [want(core, "together-too-much", loans[1], 800)])
    assert isinstance(again["together-too-much"], Done), "a refused key may be used again"


async def test_repeated_and_new_ones_together_have_one_effect_each(
    client: Any, core: Any, cells: Any
) -> None:
    loans = await draw_in_one_cell(client, core, 3)
    first = await post(core, [want(core, "together-once-1", loans[0], 500)])
    wanted = [
        want(core, "together-new-1", loans[1], 600),
        want(core, "together-once-1", loans[0], 500),
    ]
    found = await post(core, wanted)
    repeated, new = found["together-once-1"], found["together-new-1"]
    original = first["together-once-1"]
    assert isinstance(repeated, Done)
    assert isinstance(new, Done)
    assert isinstance(original, Done)
    assert (repeated.answer.body, repeated.answer.replayed) == (original.answer.body, True)
    assert not new.answer.replayed
    misused = await post(
        core, [want(core, "together-once-1", loans[2], 9), want(core, "together-new-2", loans[1], 1)]
    )
    refusal = misused["together-once-1"]
    assert isinstance(refusal, Refused)
    assert refusal.kind is Kind.KEY_REUSED
    assert isinstance(misused["together-new-2"], Done)
    assert (await cells.counts())["repayments"] == 3


async def test_what_arrives_at_once_shares_transactions(client: Any, core: Any, cells: Any) -> None:
    loans = await draw_in_one_cell(client, core, 12)
    queue = GroupQueue(core, post_repayments)

    async def repay(number: int) -> Done:
        return await queue.post(want(core, f"at-once-{number:04d}", loans[number], 100))

    await asyncio.gather(*(repay(number) for number in range(12)))
    rows = await cells.rows("select xid, count(*) from core.outbox where topic = 'loan.repaid' group by 1")
    assert sum(count for _, count in rows) == 12
    assert len(rows) <= AT_ONCE + 1


async def test_groups_of_the_same_loans_in_any_order_never_lock_each_other_out(
    client: Any, core: Any, cells: Any
) -> None:
    """Customers have several loans, so that their limits cross too. A deadlock would be raised: this router
    repeats nothing."""
    loans = []
    for _ in range(3):
        customer_id = await register(client)
        for _ in range(3):
            loans.append(str((await lend(client, customer_id, "instalment-12", 100_000, 3))["loan_id"]))
    dice = random.Random(5)

    async def entrance(name: str) -> None:
        for turn in range(12):
            order = dice.sample(loans, 6)
            await post(core, [want(core, f"{name}-{turn}-{loan_id[-20:]}", loan_id, 50) for loan_id in order])

    await asyncio.gather(*(entrance(f"entrance-{number}") for number in range(4)))
    assert (await cells.counts())["repayments"] == 4 * 12 * 6
