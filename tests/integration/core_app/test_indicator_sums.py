"""The sums of indicators are those of the loans, and a breached portfolio stops its partners' next loan."""

import datetime as dt
from fractions import Fraction
from typing import Any

from core_app.day_end.service import Step, do_chunk
from core_app.indicators.read import Added, add_cell, read_table
from core_app.indicators.table import State, judge_table
from runbooks.indicators import show, stop_breached
from tests.integration.core_app.lending import draw
from tests.integration.core_app.partners import draw_contract, make_partner, publish, sign_joint

EVENING = dt.date(2026, 1, 15)


async def look(core: Any, tier1_fen: int) -> Any:
    added = Added()
    for cell in core.router.cells:
        await add_cell(core, cell, added)
    return judge_table(read_table(), added.as_sums(tier1_fen), core.catalogue.rulebook, dt.date(2026, 8, 1))


async def test_a_joint_portfolio_beyond_its_bounds_is_seen_and_its_partners_are_stopped(
    client: Any, core: Any, cells: Any
) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 100_000_000}))
    own = await draw(client, 300_000)
    joint = [(await draw_contract(client, await sign_joint(client, 1_000_000)))[1] for _ in range(2)]
    for loan in (own, *joint):
        owner = loan["customer_id"]
        for step in Step:
            where = core.cell_of_customer(owner), (EVENING, step, core.chunk_of_customer(owner))
            cells.run_sql(
                cells.databases[where[0]],
                f"update core.business_date set on_date = '{EVENING}'",
            )
            await do_chunk(core, *where)
    # Ours: 300,000 alone and 30 % of 1,000,000 in each of the two: 600,000 of 900,000.
    found = {one.indicator.id: one for one in await look(core, tier1_fen=2_400_000)}
    assert (found["joint_share"].value, found["joint_share"].state) == (Fraction(2, 3), State.BREACHED)
    assert (found["partner_share"].partner, found["partner_share"].value) == ("bank_east", Fraction(1, 4))
    assert found["partner_share"].state is State.WITHIN, "25 % exactly"
    # 300,000 at 18 % and 2,000,000 at 15.6 %.
    assert found["mean_rate_of_new_loans"].value == Fraction(54_000 + 312_000, 2_300_000)
    assert found["approval_share"].value == 1
    assert found["npl_coverage"].state is State.NOTHING
    assert show(found["joint_share"])["bounds"] == "<= 0.50"
    assert await stop_breached(core, tuple(found.values())) == ["bank_east"]
    status, refused, _ = await draw_contract(client, await sign_joint(client, 100_000))
    assert status == 409
    assert "stopped" in refused["detail"]
