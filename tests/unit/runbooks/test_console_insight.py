"""The catalogue on the board: values by unit, rules with their state, tasks; nothing is guessed."""

from typing import Any

from runbooks.console.insight import make_fired, make_metrics, make_tasks, name_place, write_value
from tests.unit.runbooks.console_core import SAID

RUN: Any = SAID["metrics run"]
CHECK: Any = SAID["metrics check"]
TASKS: Any = SAID["metrics tasks"]


def test_a_metric_has_its_value_unit_owner_parts_and_rules() -> None:
    overdue, drawn, debits = make_metrics(RUN, CHECK)
    assert (overdue.text, overdue.unit[1], overdue.owner) == ("6.12 %", "share", "chief risk officer")
    assert overdue.dimensions == ("产品、地区", "product, region")
    assert overdue.parts[0] == (("instalment-12 · 上海", "instalment-12 · Shanghai"), "7.00 %")
    (rule,) = overdue.rules
    assert (rule.bound, rule.of[1]) == ("≤ 5 %", "by region; from 20 on; 3 days running")
    assert (drawn.text, drawn.parts) == ("¥ 1,234.56", ())
    assert debits.rules[0].bound == "≥ 5 %"


def test_a_metric_is_good_only_where_its_rules_were_judged_and_it_has_a_value() -> None:
    assert [one.state for one in make_metrics(RUN, CHECK)] == ["bad", "none", "none"]
    assert [one.state for one in make_metrics(RUN, {"fired": []})] == ["good", "none", "none"]
    assert [one.state for one in make_metrics(RUN, None)] == ["odd", "none", "none"]
    assert make_metrics(None, CHECK) == []


def test_what_fires_and_what_is_open_says_where_and_by_which_bound() -> None:
    (fired,) = make_fired(RUN, CHECK)
    assert (fired.place[0], fired.text, fired.bound, fired.number) == ("上海", "7.00 %", "≤ 5 %", "")
    kept, gone = make_tasks(RUN, TASKS)
    assert (kept.name[1], kept.text, kept.bound, kept.number) == (
        "Too much overdue in a region",
        "7.00 %",
        "≤ 5 %",
        "3",
    )
    assert (gone.name, gone.text, gone.bound, gone.place) == (("gone", "gone"), "7", "5", ("", ""))
    assert make_fired(None, None) == make_tasks(None, None) == []


def test_values_without_a_word_or_a_figure_stand_as_they_are() -> None:
    assert name_place({"step": "own_step"}) == ("own step", "own step")
    assert write_value("fen", None) == "-"
