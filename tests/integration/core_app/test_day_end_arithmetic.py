"""Day-end's SQL says what the pure arithmetic says, to the fen, of random portfolios of every product."""

import datetime as dt
import random
from fractions import Fraction
from typing import Any

import pytest

from core_app.loans.classification import AssetClass
from core_app.loans.provision import compute_provision, read_provision_rates
from core_app.money import round_half_up
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.portfolio import (
    PRODUCTS,
    close_chunks_of,
    lend_some,
    pay_something,
    read_journals,
    read_products,
    set_day,
    stand,
)
from tests.integration.core_app.test_rules_at_the_api import make_version, publish

# Few enough to be quick, and such that every class, non-accrual, statements and maturities are met.
FEES: tuple[dict[str, str], ...] = (
    {
        "upfront_share": "0.002",
        "upfront_when": "first_instalment",
        "upfront_payee": "an agent",
        "monthly_share": "0.001",
        "monthly_base": "original",
        "monthly_payee": "us",
        "monthly_income": "own",
    },
    {
        "upfront_share": "0.002",
        "upfront_when": "first_instalment",
        "upfront_payee": "us",
        "upfront_income": "own",
        "monthly_share": "0.001",
        "monthly_base": "opening",
        "monthly_payee": "a guarantor",
    },
)
STEPS_DAYS = (0, 16, 10, 9, 9, 1, 30, 60, 33, 95, 91, 42)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_every_snapshot_is_what_the_journal_replays_to(
    client: Any, core: Any, cells: Any, seed: int
) -> None:
    dice = random.Random(seed)
    changes: dict[str, Any] = {"penalty": {"base": "principal_and_interest"}, "tenor": {"grace_days": 5}}
    changes["pricing"] = {"fees": FEES[seed % 2]}
    await publish(core, make_version(2, **changes, allocation={"normal": "by_component"}))
    products = await read_products(core, cells)
    loans, day, seen = [], TODAY, 0
    for number, days in enumerate(STEPS_DAYS):
        day += dt.timedelta(days=days)
        set_day(cells, day)
        if number < 3:
            for _ in range(2):
                loans += await lend_some(client, dice, day, {"instalment-12": 2})
        for loan in loans[len(PRODUCTS) :]:  # those of the first customer are never paid
            if dice.random() < (0.5, 0.15)[number % 2]:
                await pay_something(client, dice, loan)
        if number % 2:
            await close_chunks_of(core, loans, day)
            seen += await check_snapshots(core, cells, loans, products, day)
            await check_closings(core, cells, day)
            day += dt.timedelta(days=1)
    assert seen > 100
    classes = await cells.rows("select asset_class, non_accrual from core.loan_snapshots")
    assert {name for name, _ in classes} == {str(name) for name in AssetClass}
    assert {off for _, off in classes} == {True, False}
    for column in ("fee_receivable_fen", "fee_off_balance_fen"):
        assert await cells.rows(f"select from core.loan_snapshots where {column} > 0 limit 1"), column
    assert await cells.rows("select from core.statements")


async def check_snapshots(core: Any, cells: Any, loans: Any, products: Any, day: dt.date) -> int:
    rows = await cells.rows(f"select to_jsonb(s) from core.loan_snapshots s where on_date = '{day}'")
    found = {row["loan_id"]: row for (row,) in rows}
    settled = {
        row[0] for row in await cells.rows(f"select loan_id from core.loans where settled_on < '{day}'")
    }
    assert set(found) == {loan.loan_id for loan in loans} - settled
    journals = await read_journals(cells)
    for loan in loans:
        if loan.loan_id in found:
            product = products[loan.product, loan.version]
            wanted = stand(core, product, loan, journals.get(loan.loan_id, []), day)
            wanted["next_due"] = wanted["next_due"] and wanted["next_due"].isoformat()
            assert {name: found[loan.loan_id][name] for name in wanted} == wanted, (loan, day)
    return len(found)


async def check_closings(core: Any, cells: Any, day: dt.date) -> None:
    """What is set aside is the pure figure; what is receivable stands in the ledger to the fen."""
    rates = read_provision_rates(core.catalogue.rulebook, day)
    closings = await cells.rows(f"select to_jsonb(c) from core.closings c where on_date = '{day}'")
    for (row,) in closings:
        balances = {name: row[f"{name}_fen"] for name in AssetClass}
        provision = compute_provision(balances, rates)
        assert row["provision_general_fen"] == provision.general_fen
        assert row["provision_specific_fen"] == sum(provision.specific_fen.values())
    booked = await sums(cells)
    snapshots = await cells.rows(
        f"""select sum(interest_receivable_fen + penalty_receivable_fen)::bigint, sum(balance_fen)::bigint
            from core.loan_snapshots where on_date = '{day}'"""
    )
    assert booked.get("1132", 0) == sum(row[0] or 0 for row in snapshots)
    fees = await cells.rows(
        f"select sum(fee_receivable_fen)::bigint from core.loan_snapshots where on_date = '{day}'"
    )
    assert booked.get("112201", 0) == sum(row[0] or 0 for row in fees)
    assert booked["1303"] == sum(row[1] or 0 for row in snapshots)
    provided = sum(row["provision_general_fen"] + row["provision_specific_fen"] for (row,) in closings)
    assert -booked.get("1304", 0) == provided
    assert sum(booked.values()) == 0


async def sums(cells: Any) -> dict[str, int]:
    """Return the balance of each account over all cells."""
    totals: dict[str, int] = {}
    for account, fen in await cells.rows("select account, amount_fen from core.entries"):
        totals[account] = totals.get(account, 0) + fen
    return totals


async def test_the_database_rounds_as_money_does(cells: Any) -> None:
    dice = random.Random(3)
    pairs = [(dice.randrange(10**9), dice.randrange(1, 400)) for _ in range(200)] + [(5, 2), (1, 2), (0, 1)]
    asked = ", ".join(f"({num}::numeric, {den})" for num, den in pairs)
    query = "select num, den, core.round_half_up(num, den), core.round_half_up(num * 0.00075, 1)"
    for num, den, exact, scaled in await cells.rows(f"{query} from (values {asked}) as v (num, den)"):
        assert exact == round_half_up(Fraction(int(num), den))
        assert scaled == round_half_up(Fraction(int(num) * 75, 100_000))
