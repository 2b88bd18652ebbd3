"""What can be drilled, what was, and what is overdue."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from runbooks.drills.catalogue import DRILLS, SECTIONS, RunbookIncomplete, parse_runbook, read_runbook
from runbooks.drills.cli import drill, run
from runbooks.drills.past import LAW_DAYS, OURS_DAYS, PastDrill, make_schedule, read_past
from runbooks.drills.runbook_zh import make_runbook, read_runbooks_zh

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _past(name: str, days_ago: float, verdict: str = "holds") -> PastDrill:
    at = NOW - timedelta(days=days_ago)
    return PastDrill(name, "", at, verdict, 1, 0, 0, None, None, (), Path("x"))


def _leave(home: Path, stamp: str, name: str, verdict: object, at: datetime = NOW) -> Path:
    folder = home / "evidence" / f"{stamp}-{name}-idc"
    folder.mkdir(parents=True)
    header = {"type": "header", "drill": name, "site": "idc", "started_at": at.isoformat()}
    (folder / "history.jsonl").write_text(json.dumps(header) + "\n")
    if verdict is not None:
        (folder / "verdict.json").write_text(verdict if isinstance(verdict, str) else json.dumps(verdict))
    return folder


@pytest.mark.parametrize("name", DRILLS)
def test_every_drill_is_a_runbook_that_says_when_who_how_long_and_how_to_stop(name: str) -> None:
    runbook = read_runbook(DRILLS[name])
    assert runbook.title
    assert list(runbook.sections) == list(SECTIONS)


@pytest.mark.parametrize("name", DRILLS)
def test_every_runbook_says_the_same_in_chinese_step_by_step(name: str) -> None:
    english, chinese = read_runbook(DRILLS[name]), read_runbooks_zh()[name]
    assert list(chinese.sections) == list(SECTIONS)
    assert len(chinese.steps) == len(english.steps)
    told = [chinese.title, *chinese.sections.values(), *chinese.steps]
    assert all(re.search("[\u4e00-\u9fff]", text) for text in told), told


def test_no_runbook_in_chinese_is_of_a_drill_that_is_not_there() -> None:
    assert set(read_runbooks_zh()) == set(DRILLS)


def test_a_runbook_in_chinese_that_lacks_a_section_is_refused_by_its_name() -> None:
    with pytest.raises(RunbookIncomplete, match=r"_zh\.yaml: odd does not say Who approves, Exp.* Steps$"):
        make_runbook("odd", {"title": "一", "When": "二"})


def test_a_runbook_without_an_abort_rule_is_refused_by_its_file() -> None:
    with pytest.raises(RunbookIncomplete, match=r"runbooks/drills/odd\.py.* Abort rule$"):
        parse_runbook("odd", "Runbook: x\n\nWhen: a\nWho approves: b\nExpected time: c\nSteps: d")


def test_each_drill_is_run_whole_by_the_test_that_the_readme_names() -> None:
    named = {}
    for line in (ROOT / "runbooks/drills/README.md").read_text(encoding="utf-8").splitlines():
        if row := re.fullmatch(r"\| ([a-z, -]+) \| `(test_\w+\.py)` \|", line):
            named |= dict.fromkeys(row[1].split(", "), row[2])
    assert set(named) == set(DRILLS)
    for name, test in named.items():
        text = (ROOT / "tests/faults/drills" / test).read_text(encoding="utf-8")
        assert f'"{name}"' in text, f"{test} does not run {name}"
        assert "--execute" in text, test


def test_the_catalogue_and_the_commands_are_the_same() -> None:
    assert set(run.commands) == set(DRILLS)
    for each in DRILLS.values():
        assert each.words.split()[0] == each.name


def test_a_drill_is_due_a_month_after_it_last_held() -> None:
    in_time, late = _past("site-loss", OURS_DAYS), _past("channel-loss", OURS_DAYS + 0.01)
    found = {due.drill: due for due in make_schedule([in_time, late], NOW)}
    assert not found["site-loss"].overdue
    assert found["channel-loss"].overdue
    assert not found["channel-loss"].unlawful
    assert found["day-end-loss"].overdue
    assert found["day-end-loss"].unlawful


def test_a_year_is_the_laws_limit() -> None:
    found = {due.drill: due for due in make_schedule([_past("site-loss", LAW_DAYS + 1)], NOW)}
    assert found["site-loss"].unlawful


@pytest.mark.parametrize("verdict", ["broken", "unknown", "unfinished"])
def test_a_drill_that_did_not_hold_does_not_count(verdict: str) -> None:
    found = {due.drill: due for due in make_schedule([_past("site-loss", 1, verdict)], NOW)}
    assert found["site-loss"].overdue
    assert found["site-loss"].last_run is not None
    newer_is_broken = [_past("site-loss", 5), _past("site-loss", 1, verdict)]
    kept = {due.drill: due for due in make_schedule(newer_is_broken, NOW)}["site-loss"]
    assert kept.last_held == NOW - timedelta(days=5)
    assert kept.last_run is not None
    assert kept.last_run.verdict == verdict


def test_the_most_urgent_comes_first() -> None:
    past = [_past(name, 3 if name == "site-loss" else 9) for name in DRILLS]
    schedule = make_schedule(past, NOW)
    assert schedule[-1].drill == "site-loss"


def test_past_drills_are_read_from_their_evidence_newest_first(tmp_path: Path) -> None:
    cells = {"a": {"rto_seconds": 1.25}, "b": {"rto_seconds": None}}
    held = {"verdict": "holds", "acknowledged": 7, "lost": 0, "failed": 0, "cells": cells}
    checks = {"trial_balance": "broken", "no_phantom": "holds"}
    _leave(tmp_path, "20261101T000000Z", "site-loss", held)
    _leave(tmp_path, "20261102T000000Z", "planned-move", {"verdict": "broken", "checks": checks})
    _leave(tmp_path, "20261102T120000Z", "link-cut", {"write_pause_seconds": {"a": 1.5, "b": 0.5}})
    _leave(tmp_path, "20261103T000000Z", "channel-loss", None)
    _leave(tmp_path, "20261104T000000Z", "day-end-loss", '{"verdict": "ho')
    _leave(tmp_path, "20261105T000000Z", "emergency", {"verdict": "holds"})
    (tmp_path / "evidence" / "20261106T000000Z-nothing").mkdir()
    found = read_past(tmp_path)
    assert [(one.drill, one.verdict) for one in found] == [
        ("day-end-loss", "unfinished"),
        ("channel-loss", "unfinished"),
        ("link-cut", "unfinished"),
        ("planned-move", "broken"),
        ("site-loss", "holds"),
    ]
    assert found[-1].rto_seconds == 1.25
    assert found[2].pause_seconds == 1.5
    assert found[3].broken == ("trial_balance",)


def test_the_schedule_fails_while_a_drill_is_overdue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    now = datetime.now(UTC)
    names = list(DRILLS)
    for number, name in enumerate(names[:-1]):
        _leave(tmp_path, f"2026110{number}T000000Z", name, {"verdict": "holds"}, now)
    missing = CliRunner().invoke(drill, ["schedule"])
    assert missing.exit_code == 1
    assert "never held" in missing.output
    _leave(tmp_path, "20261109T000000Z", names[-1], {"verdict": "holds"}, now)
    assert CliRunner().invoke(drill, ["schedule"]).exit_code == 0
    rows = json.loads(CliRunner().invoke(drill, ["history", "--limit", "100", "--json"]).output)
    assert {row["drill"] for row in rows} == set(names)


def test_a_runbook_can_be_read_on_the_command_line() -> None:
    shown = CliRunner().invoke(drill, ["show", "site-loss"])
    assert shown.exit_code == 0
    assert "Abort rule" in shown.output
    assert "biyi drill run site-loss --site idc" in shown.output
