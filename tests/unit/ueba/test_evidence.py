"""Evidence never sees the future, does not depend on order or names, and knows newcomers."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ueba.made import change, make_tables, shuffle
from ueba.evidence import Distrust, compute_evidence
from ueba.features.tables import COUNTS, DayTables
from ueba.settings import Baseline, Settings

SHORT = Settings(baseline=Baseline(window=10, gap=3))
DAYS = 24


def column(evidence, measure, over="today"):
    place = next(i for i, one in enumerate(evidence.columns) if (one.measure, one.over) == (measure, over))
    return evidence.values[:, place]


@settings(max_examples=4)
@given(seed=st.integers(0, 99), cut=st.integers(105, 100 + DAYS - 1))
def test_no_feature_of_a_day_sees_a_later_day(seed, cut):
    before = compute_evidence(make_tables(6, DAYS, seed), SHORT)
    after = compute_evidence(change(make_tables(6, DAYS, seed), pc.field("day") < cut, seed + 1000), SHORT)
    past = before.day < cut
    # Roles and words of the future may be new: the columns are named alike all the same.
    assert [one.measure for one in before.columns] == [one.measure for one in after.columns]
    np.testing.assert_array_equal(before.values[past], after.values[past])
    assert (before.values[~past] != after.values[~past]).any()


def test_the_own_usual_ends_before_the_gap():
    tables = make_tables(6, DAYS, 3)
    day = 100 + DAYS - 1
    inside = pc.field("day") <= day - SHORT.baseline.gap - 1
    gap_changed = change(tables, inside | (pc.field("day") == day), 77)
    before, after = compute_evidence(tables, SHORT), compute_evidence(gap_changed, SHORT)
    np.testing.assert_array_equal(before.own[before.day == day], after.own[after.day == day])


@settings(max_examples=2)
@given(seed=st.integers(0, 999))
def test_the_order_of_rows_changes_nothing(seed):
    tables = make_tables(6, DAYS, seed)
    before, after = compute_evidence(tables, SHORT), compute_evidence(shuffle(tables, seed), SHORT)
    np.testing.assert_array_equal(before.values, after.values)


def test_other_names_of_the_staff_change_nothing():
    tables = make_tables(9, DAYS, 5)
    renamed = dataclasses.replace(
        tables,
        **{
            name: table.set_column(
                table.column_names.index("staff"),
                "staff",
                pa.array([f"q{99999 - int(one[1:])}" for one in table["staff"].to_pylist()]),
            )
            for name in ("staff_days", "tallies", "bare_looks", "money_acts")
            if (table := getattr(tables, name)) is not None
        },
    )
    before, after = compute_evidence(tables, SHORT), compute_evidence(renamed, SHORT)
    for person, name in enumerate(before.staff):
        other = after.staff.index(f"q{99999 - int(name[1:])}")
        np.testing.assert_array_equal(
            before.values[before.person == person], after.values[after.person == other]
        )


def test_a_newcomer_is_judged_as_the_peers_are():
    tables = make_tables(6, DAYS, 1)
    late = (pc.field("staff") != "p00000") | (pc.field("day") >= 100 + DAYS - 1)
    names = ("staff_days", "tallies", "bare_looks", "money_acts")
    kept = DayTables(*(getattr(tables, name).filter(late) for name in names))
    evidence = compute_evidence(kept, SHORT)
    row = evidence.find("p00000", 100 + DAYS - 1)
    assert evidence.periods[row] == 0
    np.testing.assert_allclose(evidence.own[row, :20], evidence.peers[row, :20], rtol=1e-5)
    assert np.isfinite(evidence.values).all()


def test_rarity_becomes_usual_only_once_people_are_known():
    """A third of the window is past enough. Before the gap of day 108 lie days without such a past only."""
    evidence = compute_evidence(make_tables(6, DAYS, 3), SHORT)
    early, late = evidence.day == 108, evidence.day == 100 + DAYS - 1
    for rare in ("hour:surprise_peak", "terminal:novelty_sum", "action:novelty_sum"):
        assert not column(evidence, rare)[early].any()
        assert column(evidence, rare)[late].any()
    assert column(evidence, "events")[early].any()


def test_rarity_says_nothing_of_who_is_new_in_a_role():
    """On the last day all swap roles: nobody has an own past there, the role's peers have one."""
    tables = make_tables(6, DAYS, 1)
    last = 100 + DAYS - 1
    swap = {"clerk": "officer", "officer": "clerk"}
    roles = [
        swap[role] if day == last else role
        for day, role in zip(*(tables.staff_days[one].to_pylist() for one in ("day", "role")), strict=True)
    ]
    place = tables.staff_days.column_names.index("role")
    staff_days = tables.staff_days.set_column(place, "role", pa.array(roles))
    evidence = compute_evidence(dataclasses.replace(tables, staff_days=staff_days), SHORT)
    now = evidence.day == last
    assert not evidence.periods[now].any()
    assert not column(evidence, "hour:novelty_sum")[now].any()
    assert column(evidence, "events")[now].any()
    before = compute_evidence(tables, SHORT)
    assert column(before, "hour:novelty_sum")[before.day == last].any()


def test_a_new_word_is_not_added_up_day_by_day():
    columns = compute_evidence(make_tables(6, DAYS, 1), SHORT).columns
    assert {one.measure for one in columns if one.slow and ":" in one.measure} == {"terminal:borrowed"}
    assert {one.measure for one in columns if not one.slow} >= {"hour:novelty_sum", "terminal:novelty_sum"}


def test_a_new_role_is_a_new_baseline():
    tables = make_tables(6, DAYS, 2)
    roles = [
        "officer" if (name, day) == ("p00000", 100 + DAYS - 1) else role
        for name, day, role in zip(
            *(tables.staff_days[one].to_pylist() for one in ("staff", "day", "role")), strict=True
        )
    ]
    place = tables.staff_days.column_names.index("role")
    changed = dataclasses.replace(
        tables, staff_days=tables.staff_days.set_column(place, "role", pa.array(roles))
    )
    before, after = compute_evidence(tables, SHORT), compute_evidence(changed, SHORT)
    assert before.periods[before.find("p00000", 100 + DAYS - 1)] == SHORT.baseline.window
    assert after.periods[after.find("p00000", 100 + DAYS - 1)] == 0


def test_a_usual_that_begins_anew_has_no_past_and_leaves_everybody_elses():
    """What the register's `role_since` and a confirmed change of role lead to."""
    tables, last = make_tables(6, DAYS, 2), 100 + DAYS - 1
    before = compute_evidence(tables, SHORT)
    after = compute_evidence(tables, SHORT, anew=[("p00000", last - 5), ("p00000", last), ("nobody", 100)])
    mine = after.person == after.staff.index("p00000")
    periods = [int(after.periods[after.find("p00000", day)]) for day in (last - 6, last - 5, last - 1, last)]
    assert periods == [SHORT.baseline.window, 0, 1, 0]
    np.testing.assert_array_equal(before.periods[~mine], after.periods[~mine])
    counted = [i for i, name in enumerate(before.measures) if name in COUNTS]
    assert counted
    np.testing.assert_array_equal(before.own[~mine][:, counted], after.own[~mine][:, counted])
    earlier = mine & (after.day < last - 5)
    np.testing.assert_array_equal(before.own[earlier], after.own[earlier])


def test_days_of_an_open_case_do_not_become_usual():
    tables = make_tables(6, DAYS, 2)
    place = tables.staff_days.column_names.index("bare")
    mine = pc.and_(
        pc.equal(tables.staff_days["staff"], "p00000"), pc.greater_equal(tables.staff_days["day"], 110)
    )
    high = pc.if_else(mine, 200, tables.staff_days["bare"])
    tables = dataclasses.replace(tables, staff_days=tables.staff_days.set_column(place, "bare", high))
    poisoned = compute_evidence(tables, SHORT)
    guarded = compute_evidence(tables, SHORT, distrusted=[Distrust("p00000", 110, 200)])
    row = poisoned.find("p00000", 100 + DAYS - 1)
    assert column(guarded, "bare")[row] > 2 * max(column(poisoned, "bare")[row], 1.0)


def test_an_employee_with_one_event_is_scored():
    tables = make_tables(6, DAYS, 4)
    one = {name: 0 for name in tables.staff_days.column_names} | {
        "staff": "single", "day": 110, "role": "clerk", "branch": "b0", "events": 1,
    }  # fmt: skip
    more = pa.concat_tables([tables.staff_days, pa.Table.from_pylist([one], schema=tables.staff_days.schema)])
    evidence = compute_evidence(dataclasses.replace(tables, staff_days=more), SHORT)
    assert np.isfinite(evidence.values[evidence.find("single", 110)]).all()


def test_ten_thousand_employees():
    tables = make_tables(40, 1, 4)
    days, names = tables.staff_days, tables.staff_days["staff"].to_pylist()
    parts = [days.set_column(0, "staff", pa.array([f"{n}-{one}" for one in names])) for n in range(250)]
    others = (table.slice(0, 0) for table in (tables.tallies, tables.bare_looks, tables.money_acts))
    many = DayTables(pa.concat_tables(parts), *others)
    evidence = compute_evidence(many, SHORT)
    assert len(evidence.staff) == 10_000
    assert np.isfinite(evidence.values).all()


def with_pairs(*kinds):
    """The second looks barely at dormant customers, the third acts: (days between, by approval or not)."""
    tables = make_tables(6, DAYS, 4)
    looks, acts = [], []
    for n, (wait, approved) in enumerate(kinds):
        day, customer = 104 + 3 * n, f"z{n}"
        look = {"staff": "p00001", "day": day, "customer": customer, "n": 1, "dormant": 1}
        looks.append(look | {"first_s": day * 86_400})
        act = {"staff": "p00002", "day": day + wait, "customer": customer, "approvals": int(approved)}
        acts.append(act | {"last_s": (day + wait) * 86_400 + 60})
    return compute_evidence(
        dataclasses.replace(
            tables,
            bare_looks=pa.Table.from_pylist(looks, schema=tables.bare_looks.schema),
            money_acts=pa.Table.from_pylist(acts, schema=tables.money_acts.schema),
        ),
        SHORT,
    )


def test_the_same_pair_again_is_counted_for_both():
    evidence = with_pairs((1, True), (1, True), (1, True))
    pairs = column(evidence, "pair", "plain")
    assert [pairs[evidence.find("p00002", day)] for day in (105, 108, 111)] == [1, 2, 3]
    assert pairs[evidence.find("p00001", 111)] == 3
    assert pairs[evidence.find("p00003", 111)] == 0


def test_approvals_and_acts_of_the_same_day_are_counted_apart():
    evidence = with_pairs((0, True), (0, False), (1, True))
    row = evidence.find("p00002", 111)
    assert [column(evidence, name, "plain")[row] for name in ("pair", "pair_approved")] == [3, 2]
    assert column(evidence, "pair_same_day", "plain")[evidence.find("p00001", 107)] == 2
    assert column(evidence, "pair_approved_same_day", "plain")[evidence.find("p00001", 104)] == 1
    assert column(evidence, "pair_approved_same_day", "plain")[evidence.find("p00001", 107)] == 0
    assert column(evidence, "pair_same_day", "plain")[row] == 0


def test_dormant_records_of_a_fortnight_are_counted_together():
    evidence = with_pairs((1, True), (1, True), (1, True))
    counts = column(evidence, "dormant_14_days", "plain")
    assert [counts[evidence.find("p00001", day)] for day in (104, 107, 108, 110)] == [1, 2, 0, 3]


def test_days_at_the_desk_of_one_colleague_are_counted():
    """On every other day the first sits at the second's own desk, on one at the third's."""
    tables = make_tables(6, DAYS, 4)
    last = 100 + DAYS - 1
    days = tables.staff_days.select(["staff", "day"]).to_pylist()
    desks = {("p00000", last - n): "own-p00001" for n in (0, 2, 4)} | {("p00000", last - 1): "own-p00002"}
    words = [
        {
            "word": desks.get((one["staff"], one["day"]), f"own-{one['staff']}"),
            "n": 20,
            "dimension": "terminal",
        }
        | one
        for one in days
    ]
    tallies = pa.Table.from_pylist(words).select(tables.tallies.column_names).cast(tables.tallies.schema)
    evidence = compute_evidence(dataclasses.replace(tables, tallies=tallies), SHORT)
    counts = column(evidence, "desk_days", "plain")
    assert [counts[evidence.find("p00000", last - n)] for n in (5, 4, 2, 1, 0)] == [0, 1, 2, 1, 3]
    assert not counts[evidence.person == evidence.staff.index("p00001")].any(), "nobody borrows the own desk"


@pytest.mark.parametrize("gap", [0, -1])
def test_a_day_may_not_judge_itself(gap):
    from ueba.errors import UebaError

    with pytest.raises(UebaError, match="gap"):
        Settings(baseline=Baseline(gap=gap))
