"""Draws in one transaction: each has the effect it has alone, or none, whoever stands beside it."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from core_app.commands import Done, make_command
from core_app.errors import Refused
from core_app.loans.draw import DrawWish, WantedDraw, post_draws, want_draw
from core_app.loans.merchant import Merchant
from core_app.loans.together import Outcome
from tests.integration.core_app.lending import apply, confirm, register
from tests.integration.core_app.partners import JOINT, make_partner, publish, sign_joint

STANDS = """
select l.contract_id, l.product, l.principal_fen, l.interest_fen, l.anytime, l.under_line, l.drawn_on,
       k.status, h.reserved_fen, h.used_fen, p.amount_fen, p.payee_kind, p.channel_kinds,
       p.give_up_at - p.at,
       (select array_agg((n.node, n.reserved_fen, n.used_fen)::text order by n.node) from core.limits n
        where n.customer_id = l.customer_id),
       (select array_agg((i.period, i.begins, i.due, i.principal_fen, i.interest_fen, i.principal_before_fen,
                          i.interest_before_fen)::text order by i.period)
        from core.instalments i where i.loan_id = l.loan_id),
       (select array_agg((e.account, e.amount_fen, e.funder)::text order by e.entry_id)
        from core.entries e where e.loan_id = l.loan_id),
       (select array_agg((f.place, f.funder, f.share, f.principal_fen, f.interest_fen, f.passed_over)::text
                         order by f.place)
        from core.loan_funders f where f.loan_id = l.loan_id),
       (select (m.merchant_id, m.merchant_kind, m.amount_fen)::text from core.entrusted_payments m
        where m.loan_id = l.loan_id),
       (select array_agg(o.topic) from core.outbox o where o.key = l.loan_id)
from core.loans l join core.contracts k using (contract_id) join core.limit_holds h using (contract_id)
    join core.payout_orders p using (loan_id)
"""
SIZES = {
    "instalment-12": (1_200_000, 12),
    "bill-small-ticket": (30_000, 3),
    "revolving-anytime": (1_000_000, 12),
    "scene-renovation": (900_000, 24),
    JOINT: (600_000, 12),
}


def want(core: Any, key: str, wish: DrawWish) -> WantedDraw:
    return want_draw(core, make_command(core, key, "draw", {"contract_id": wish.contract_id}), wish)


async def post(core: Any, wanted: Sequence[WantedDraw]) -> dict[str, Outcome]:
    """Post each cell's together."""
    by_cell: dict[str, list[WantedDraw]] = defaultdict(list)
    for one in wanted:
        by_cell[one.cell].append(one)
    found: dict[str, Outcome] = {}
    for group in by_cell.values():
        found |= zip((one.key for one in group), await post_draws(core, group, 10.0), strict=True)
    return found


async def sign_each(client: Any) -> list[DrawWish]:
    """Sign every product for two customers; return what is to be drawn of each."""
    wishes = []
    for _ in range(2):
        customer_id = await register(client)
        for product, (amount_fen, periods) in SIZES.items():
            decided = await apply(client, customer_id, amount_fen, periods, product=product)
            status, contract, _ = await client.post("/v1/contracts", confirm(decided))
            assert status == 201, contract
            contract_id = contract["contract_id"]
            wishes.append(
                DrawWish(
                    contract_id,
                    amount_fen // 2 if product == "revolving-anytime" else None,
                    Merchant("M1", "renovation", contract_id) if product == "scene-renovation" else None,
                )
            )
    return wishes


async def test_together_is_what_one_by_one_is(client: Any, core: Any, cells: Any) -> None:
    """Every product for two customers, so that some of a customer have to wait for a second transaction."""
    await publish(core, make_partner("bank_east", {"total_fen": 100_000_000}))
    alone, together = await sign_each(client), await sign_each(client)
    for number, wish in enumerate(alone):
        assert isinstance((await post(core, [want(core, f"alone-{number:04d}", wish)])).popitem()[1], Done)
    wanted = [want(core, f"together-{number:04d}", wish) for number, wish in enumerate(together)]
    found = await post(core, wanted)
    assert all(isinstance(one, Done) for one in found.values()), found
    stands = {contract_id: rest for contract_id, *rest in await cells.rows(STANDS)}
    assert [stands[one.contract_id] for one in together] == [stands[one.contract_id] for one in alone]
    assert len(stands) == 4 * len(SIZES)


async def test_who_is_refused_leaves_no_row_and_a_quota_is_not_overdrawn(
    client: Any, core: Any, cells: Any
) -> None:
    """Of joint draws in one group each sees what those before it took."""
    await publish(core, make_partner("bank_east", {"total_fen": 2 * 2 * 840_000 + 2 * 100_000}))
    contracts: dict[str, list[DrawWish]] = defaultdict(list)
    while max(map(len, contracts.values()), default=0) < 3:
        wish = DrawWish(await sign_joint(client))
        contracts[want(core, "probe-0001", wish).cell].append(wish)
    wishes = max(contracts.values(), key=len)
    before = await cells.counts()
    found = await post(core, [want(core, f"joint-{number:04d}", wish) for number, wish in enumerate(wishes)])
    assert [type(one) for one in found.values()] == [Done, Done, Refused]
    after = await cells.counts()
    assert {table: after[table] - before[table] for table in ("commands", "loans", "payout_orders")} == {
        "commands": 2,
        "loans": 2,
        "payout_orders": 2,
    }
    used = await cells.rows("select used_fen from core.funder_quotas where used_fen > 0")
    assert used == [(2 * 840_000,)]


async def test_groups_of_the_same_customers_never_lock_each_other_out(
    client: Any, core: Any, cells: Any
) -> None:
    """Two entrances at once, customers and quotas crossing. A deadlock would be raised: this router repeats
    nothing."""
    await publish(core, make_partner("bank_east", {"total_fen": 100_000_000}))
    await publish(core, make_partner("bank_west", {"total_fen": 100_000_000}))
    wishes = await sign_each(client) + await sign_each(client)

    async def entrance(name: str, order: Sequence[DrawWish]) -> list[Outcome]:
        wanted = [want(core, f"{name}-{wish.contract_id[-20:]}", wish) for wish in order]
        return list((await post(core, wanted)).values())

    both = await asyncio.gather(entrance("entrance-1", wishes), entrance("entrance-2", wishes[::-1]))
    drawn = len(wishes) + sum(wish.amount_fen is not None for wish in wishes)  # of a line each a half
    assert sum(isinstance(one, Done) for found in both for one in found) == drawn
    assert (await cells.counts())["loans"] == drawn
