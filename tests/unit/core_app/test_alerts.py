"""Metrics add up before they divide; alert rules fire beyond their threshold and not upon it."""

import datetime as dt
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.errors import DocumentInvalid
from core_app.insight.alert import ALERTS, Alert, Fired, check_alerts, judge_alert
from core_app.insight.metric import (
    CATALOGUE,
    Cube,
    Measured,
    Metric,
    add_up,
    make_catalogue,
    read_row,
    roll_up,
)
from core_app.insight.read import read_alerts, read_metrics

DAY = dt.date(2026, 2, 19)
SHARE: Metric = read_metrics()["overdue_share"]
COUNT: Metric = read_metrics()["complaints_taken"]


def rule(**changes: Any) -> Alert:
    row = {
        "id": "one", "name": {"zh": "一", "en": "One"}, "metric": "overdue_share", "per": ["region"],
        "operator": "above", "threshold": "0.05", "action": "risk_check", "owner": "chief risk officer",
    }  # fmt: skip
    return ALERTS.validate_python([row | changes])[0]


def series(*cubes: Cube, metric: Metric = SHARE) -> list[Measured]:
    first = DAY - dt.timedelta(days=len(cubes) - 1)
    return [Measured(metric, first + dt.timedelta(days=n), cube) for n, cube in enumerate(cubes)]


def of(part: int, whole: int = 10_000, region: str = "31", product: str = "p") -> Cube:
    return {(product, region): (part, whole)}


def fires(alert: Alert, *cubes: Cube, metric: Metric = SHARE) -> list[tuple[tuple[str, ...], Fraction]]:
    return [(one.dimensions, one.value) for one in judge_alert(alert, series(*cubes, metric=metric))]


def test_there_are_at_least_twenty_metrics_with_names_owners_and_units_and_rules_over_them() -> None:
    metrics = read_metrics().values()
    assert len(metrics) >= 20
    assert all(one.name.zh and one.name.en and one.owner and one.unit for one in metrics)
    assert all("%(day)s" in one.sql for one in metrics)
    assert {alert.metric for alert in read_alerts()} <= set(read_metrics())
    assert {alert.operator for alert in read_alerts()} == {"above", "below"}


def test_five_percent_is_silent_and_five_point_zero_one_fires() -> None:
    [shipped] = [one for one in read_alerts() if one.id == "region_overdue"]
    assert fires(shipped, of(500)) == []
    assert fires(shipped, of(501)) == [(("31",), Fraction(501, 10_000))]
    below = rule(operator="below", threshold="0.05")
    assert fires(below, of(500)) == []
    assert fires(below, of(499)) == [(("31",), Fraction(499, 10_000))]


def test_the_boundary_is_exact_to_one_fen_of_the_whole_portfolio() -> None:
    whole = 3_000_000_000_000
    assert fires(rule(), of(whole // 20, whole)) == []
    assert len(fires(rule(), of(whole // 20 + 1, whole))) == 1


def test_each_region_is_judged_over_its_products_together() -> None:
    cube = of(900, product="p") | of(0, product="q") | of(600, 10_000, region="44")
    assert fires(rule(), cube) == [(("44",), Fraction(6, 100))], "450 and 600 in ten thousand: one fires"
    assert fires(rule(per=[]), cube) == []
    assert fires(rule(where={"product": "p"}), cube) == [
        (("31",), Fraction(9, 100)),
        (("44",), Fraction(6, 100)),
    ]


def test_a_window_of_every_day_needs_each_and_one_of_sums_needs_their_sum() -> None:
    every = rule(window={"days": 3, "how": "every"})
    assert len(fires(every, of(501), of(501), of(501))) == 1
    assert fires(every, of(501), of(500), of(501)) == []
    assert fires(every, of(501), {}, of(501)) == [], "a day without a figure holds nothing"
    summed = rule(window={"days": 3, "how": "sum"})
    assert fires(summed, of(0), of(500), of(1000)) == []
    assert len(fires(summed, of(0), of(501), of(1000))) == 1
    count = rule(metric="complaints_taken", per=[], threshold="20", window={"days": 2, "how": "sum"})
    assert fires(count, {("web", "fees"): (10, 1)}, {("web", "fees"): (10, 1)}, metric=COUNT) == []
    assert len(fires(count, {("web", "fees"): (10, 1)}, {("web", "fees"): (11, 1)}, metric=COUNT)) == 1


def test_too_small_a_whole_and_nothing_at_all_are_silent() -> None:
    assert fires(rule(least_whole=100), of(99, 99)) == []
    assert len(fires(rule(least_whole=99), of(99, 99))) == 1
    assert fires(rule(operator="below"), of(0, 0)) == []
    assert fires(rule(operator="below"), {}) == []


def test_days_that_do_not_follow_each_other_are_no_window() -> None:
    two = rule(window={"days": 2})
    for days in (series(of(1)), [*series(of(1)), *series(of(1))], []):
        with pytest.raises(DocumentInvalid, match="2 days"):
            judge_alert(two, days)


cubes = st.dictionaries(
    st.tuples(st.sampled_from("pqr"), st.sampled_from(["11", "31", "44"])),
    st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
)


@given(st.lists(cubes, min_size=1, max_size=4))
def test_cells_added_up_and_rolled_up_are_what_one_cell_would_have_said(found: list[Cube]) -> None:
    together = add_up(SHARE, found)
    whole = roll_up(SHARE, together, (), {}).get((), (0, 0))
    assert whole == tuple(sum(sums[n] for cube in found for sums in cube.values()) for n in (0, 1))
    by_region = roll_up(SHARE, together, ("region",), {})
    assert add_up(SHARE, [{(): sums} for sums in by_region.values()]).get((), (0, 0)) == whole


@given(cubes, st.integers(0, 100))
def test_whatever_fires_is_beyond_the_threshold_and_whatever_is_beyond_fires(
    cube: Cube, percent: int
) -> None:
    alert = rule(per=["product", "region"], threshold=f"{percent / 100:.2f}")
    fired: dict[Any, Fired] = {one.dimensions: one for one in judge_alert(alert, series(cube))}
    for place, (part, whole) in cube.items():
        assert (place in fired) == (whole > 0 and 100 * part > percent * whole)


def metric(**changes: Any) -> dict[str, Any]:
    row = {"id": "one", "name": {"zh": "一", "en": "One"}, "owner": "x", "unit": "fen", "kind": "sum"}
    return row | {"sql": "select sum(1)::bigint where %(day)s is not null"} | changes


@pytest.mark.parametrize(
    "bad",
    [
        metric(sql="delete from core.loans where true"),
        metric(sql="select 1::bigint; select 2::bigint"),
        metric(unit="share"),
        metric(unit="furlongs"),
        metric(owner=""),
    ],
)
def test_a_bad_metric_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CATALOGUE.validate_python([bad])


def test_a_query_with_other_columns_is_refused() -> None:
    assert read_row(SHARE, ("p", "31", 1, 2)) == (("p", "31"), (1, 2))
    for row in (("p", 1, 2), ("p", "31", 1), ("p", "31", 1.5, 2), ("p", "31", None, 2)):
        with pytest.raises(DocumentInvalid, match="overdue_share"):
            read_row(SHARE, row)


def test_a_rule_of_no_metric_or_dimension_and_a_double_id_are_refused() -> None:
    metrics = make_catalogue([SHARE])
    check_alerts([rule()], metrics)
    for bad in (
        [rule(metric="none")],
        [rule(per=["colour"])],
        [rule(where={"colour": "red"})],
        [rule(), rule()],
    ):
        with pytest.raises(DocumentInvalid):
            check_alerts(bad, metrics)
    with pytest.raises(DocumentInvalid, match="twice"):
        make_catalogue([SHARE, SHARE])
    with pytest.raises(ValueError, match="in quotes"):
        rule(threshold=0.05)
