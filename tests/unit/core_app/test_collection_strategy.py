"""Strategy and scripts: data that is checked when it is read, and what falls on which day past due."""

import datetime as dt
from typing import Any

import pytest
import yaml

from core_app.errors import DocumentInvalid
from core_app.rules.read import read_rulebook
from core_app.servicing.collection import STRATEGIES, check_strategies, collection_columns
from core_app.servicing.contact import Channel
from core_app.servicing.read import read_scripts, read_strategies
from core_app.servicing.scripts import SCRIPTS, make_library, placeholders_of
from core_app.yaml_documents import parse_yaml
from tests.unit.core_app.product_documents import make_product

RULES = read_rulebook()
TEXT = "您有 {amount_yuan} 元逾期，请致电 {phone}。"


def steps_on(dpd: int, day: dt.date, **changes: Any) -> set[tuple[str, str]]:
    """Return channel and script of what falls on a day past due, read from the columns as SQL reads them."""
    product = make_product({f"collection.{name}": value for name, value in changes.items()})
    columns = collection_columns([product], read_strategies(), RULES, day - dt.timedelta(days=1))
    return {
        (row[5], row[6])
        for row in zip(*columns.values(), strict=True)
        if row[2] <= dpd <= row[3] and (dpd - row[2]) % row[4] == 0
    }


def test_there_are_at_least_twenty_scripts_for_all_channels_and_older_versions_are_kept() -> None:
    scripts = read_scripts().by_id
    assert len(scripts) >= 20
    assert {script.channel for script in scripts.values()} == set(Channel)
    assert sum(len(script.versions) for script in scripts.values()) > len(scripts)


def test_three_tiers_follow_the_days_past_due() -> None:
    day = dt.date(2026, 2, 16)
    assert steps_on(0, day) == set()
    assert steps_on(1, day) == {("sms", "sms_due_passed"), ("voice_robot", "robot_reminder")}
    assert steps_on(3, day) == {("voice_robot", "robot_second_reminder")}
    assert steps_on(4, day) == {("person", "person_opening")}
    assert steps_on(5, day) == {("sms", "sms_help_offered")}
    assert steps_on(8, day) == {("letter", "letter_first")}
    assert steps_on(9, day) == set()
    assert steps_on(60, day) == {("letter", "letter_bureau_notice")}


def test_the_version_of_the_day_counts_for_strategy_and_for_scripts() -> None:
    before, after = dt.date(2025, 12, 31), dt.date(2026, 1, 1)
    assert steps_on(1, before) == {("voice_robot", "robot_reminder")}
    assert steps_on(1, after) == {("sms", "sms_due_passed"), ("voice_robot", "robot_reminder")}
    library = read_scripts()
    assert [library.find("robot_reminder", day)[1].version for day in (before, after)] == [1, 2]
    with pytest.raises(DocumentInvalid, match="no version"):
        library.find("robot_reminder", dt.date(2025, 2, 27))


def test_a_channel_that_the_product_does_not_use_is_left_out() -> None:
    assert steps_on(1, dt.date(2026, 2, 16), methods=["voice_robot", "person", "letter"]) == {
        ("voice_robot", "robot_reminder")
    }


def test_a_row_ends_with_its_tier_or_its_own_last_day_whichever_comes_first() -> None:
    tiers = [{"from_day": 1, "method": "sms"}, {"from_day": 5, "method": "letter"}]
    product = make_product({"collection.tiers": tiers, "collection.methods": ["sms", "letter"]})
    row = {"tier": "sms", "after_days": 0, "every_days": 1, "channel": "sms", "script": "one"}
    for until_days, last in ((None, 4), (1, 2), (3, 4), (9, 4)):
        version = {"version": 1, "from": "2025-02-28", "rows": [row | {"until_days": until_days}]}
        strategies = STRATEGIES.validate_python({"strategies": [version]})
        columns = collection_columns([product], strategies, RULES, dt.date(2026, 2, 16))
        assert (columns["step_first_days"], columns["step_last_days"]) == ([1], [last]), until_days


def script(**changes: Any) -> dict[str, Any]:
    version = {"version": 1, "from": "2025-02-28", "zh": TEXT, "en": TEXT}
    return {"id": "one", "channel": "sms", "moment": "some day", "versions": [version]} | changes


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (script(versions=[script()["versions"][0] | {"zh": TEXT + "{name}"}]), r"\['name'\]"),
        (script(discloses=False), r"\['amount_yuan'\]"),
        (script(versions=[script()["versions"][0] | {"version": 2}]), "needs 1, 2, 3"),
        (script(versions=[script()["versions"][0] | {"zh": TEXT + "{amount_yuan:x}"}]), "plain name"),
        (
            script(versions=script()["versions"] + [script()["versions"][0] | {"version": 2}]),
            "ascending days",
        ),
        (script(channel="pigeon"), "channel"),
    ],
)
def test_a_bad_script_is_refused_with_its_field(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentInvalid, match=words):
        parse_yaml("scripts.yaml", yaml.safe_dump([bad]), SCRIPTS)


def test_a_strategy_of_a_script_that_is_not_there_or_of_another_channel_is_refused() -> None:
    library = make_library(SCRIPTS.validate_python([script()]))
    row = {"tier": "sms", "after_days": 0, "every_days": 1, "channel": "sms", "script": "one"}

    def strategies(first_day: str, **changes: Any) -> Any:
        versions = [{"version": 1, "from": first_day, "rows": [row | changes]}]
        return STRATEGIES.validate_python({"strategies": versions})

    check_strategies(strategies("2025-02-28"), library)
    for bad, words in (
        (strategies("2025-02-28", script="none"), "script none"),
        (strategies("2025-02-27"), "no version"),
        (strategies("2025-02-28", channel="letter"), "is for sms"),
    ):
        with pytest.raises(DocumentInvalid, match=words):
            check_strategies(bad, library)


def test_placeholders_are_plain_names() -> None:
    assert placeholders_of("{a} and {b}") == {"a", "b"}
    for bad in ("{a.b}", "{0}", "{}", "{a!r}"):
        with pytest.raises(ValueError, match="plain name"):
            placeholders_of(bad)
