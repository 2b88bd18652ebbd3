"""Risk indicators: the table is sound, bounds are exact, and a breach says which partners are stopped."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.errors import DocumentInvalid
from core_app.indicators.read import Added, read_table
from core_app.indicators.table import Indicator, State, find_partners_to_stop, judge_table
from core_app.rules.read import read_rulebook

DAY = dt.date(2026, 8, 1)
RULES = read_rulebook()
SHIPPED = read_table()


def make_row(**changes: Any) -> Indicator:
    plain = {
        "id": "one", "domain": "d", "name": {"zh": "一", "en": "one"}, "part": "part", "whole": "whole",
        "most": "0.05", "owner": "somebody", "on_breach": "report",
    }  # fmt: skip
    return Indicator.model_validate(plain | changes)


def state_of(row: Indicator, part: int | None, whole: int | None) -> State:
    (found,) = judge_table([row], ({"part": part, "whole": whole}, {}), RULES, DAY)
    return found.state


def test_every_shipped_row_has_sums_bounds_in_force_and_an_owner_of_its_own_domain() -> None:
    found = judge_table(SHIPPED, Added().as_sums(None), RULES, DAY)
    assert len({row.id for row in SHIPPED}) == len(SHIPPED) >= 9
    assert len({row.domain for row in SHIPPED}) >= 6
    assert {one.state for one in found} == {State.NOTHING}
    sums = Added().as_sums(1)[0]
    assert all(row.per == "partner" or {row.part, row.whole} <= sums.keys() for row in SHIPPED)


def test_the_bounds_of_joint_lending_are_those_of_the_law() -> None:
    bounds = {one.id: one.most for one in SHIPPED if one.domain == "joint lending"}
    assert bounds == {"joint_share": "inet.joint.portfolio_max", "partner_share": "inet.joint.partner_max"}
    assert (RULES.value("inet.joint.portfolio_max", DAY), RULES.value("inet.joint.partner_max", DAY)) == (
        Decimal("0.50"),
        Decimal("0.25"),
    )


@given(whole=st.integers(1, 10**15), part=st.integers(0, 10**15), cents=st.integers(0, 100))
def test_a_bound_is_passed_only_beyond_it_to_the_last_fen(whole: int, part: int, cents: int) -> None:
    bound = str(Decimal(cents) / 100)
    assert (state_of(make_row(most=bound), part, whole) is State.BREACHED) == (100 * part > cents * whole)
    least = make_row(most=None, least=bound)
    assert (state_of(least, part, whole) is State.BREACHED) == (100 * part < cents * whole)


def test_what_is_not_known_or_not_there_is_neither_within_nor_breached() -> None:
    assert state_of(make_row(), None, 5) is State.UNKNOWN
    assert state_of(make_row(), 5, None) is State.UNKNOWN
    assert state_of(make_row(), 0, 0) is State.NOTHING


@pytest.mark.parametrize("wrong", [{"part": "colour"}, {"whole": "colour"}, {"most": "no.such.rule"}])
def test_a_row_that_names_what_there_is_not_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DocumentInvalid):
        state_of(make_row(**wrong), 1, 2)


def test_a_partner_is_stopped_by_its_own_row_and_all_by_that_of_the_portfolio() -> None:
    added = Added()
    added.company.update(own_fen=1_000, joint_own_fen=500)
    added.partners.update(bank_east=250, bank_west=251)
    partners = ["bank_east", "bank_west"]

    def stopped() -> tuple[str, ...]:
        return find_partners_to_stop(judge_table(SHIPPED, added.as_sums(1_000), RULES, DAY), partners)

    assert stopped() == ("bank_west",)
    added.company["joint_own_fen"] = 501
    assert stopped() == ("bank_east", "bank_west")
    added.company["joint_own_fen"], added.partners["bank_west"] = 500, 250
    assert stopped() == ()
