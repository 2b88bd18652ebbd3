"""What the demo leaves: a report that can be opened now, and how to get to the console."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from compliance.access.roles import Role
from runbooks import demo
from runbooks.demo_people import DemoPeople, DemoPerson, write_people
from runbooks.drills.arrivals import make_person


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    folder = tmp_path / "evidence" / "20261123T000000Z-site-loss-idc"
    folder.mkdir(parents=True)
    header = (
        '{"type": "header", "drill": "site-loss", "site": "idc", "started_at": "2026-11-23T00:00:00+00:00",'
        ' "key_prefix": "drill-00"}'
    )
    (folder / "history.jsonl").write_text(header + "\n")
    (folder / "report.html").write_text("<p>")
    return tmp_path


def test_a_demo_that_stopped_names_the_report_and_how_to_get_the_console_back(home: Path) -> None:
    report, console = demo._say_what_is_left(keep=False)
    assert report.startswith("report:   file:///")
    assert Path(report.removeprefix("report:   file://")).is_file()
    assert f"BIYI_HOME={home} biyi stand up" in console


def test_a_demo_that_stays_says_who_can_sign_in_and_how_it_is_stopped(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "read_stand", lambda _: SimpleNamespace(port=lambda site, _: 15000))
    people = (
        DemoPerson("an.bo", Role.SYSTEM_ADMIN, "00" * 20, used_step=2),
        DemoPerson("li.wei", Role.SERVICE),
    )
    write_people(home, DemoPeople("Some-words-7", people))
    said = "\n".join(demo._say_what_is_left(keep=True))
    assert "https://127.0.0.1:15000/ (cloud)" in said
    assert "Some-words-7" in said
    assert re.search(r"^an\.bo +[0-9]{6}  Platform, Drills, Backups", said, re.MULTILINE)
    assert re.search(r"^li\.wei +-  +Customers$", said, re.MULTILINE)
    assert make_person("drill-00", 1).phone in said
    assert "demo --down" in said


def test_without_a_demo_nobody_is_told_to_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    done = CliRunner().invoke(demo.demo_command, ["--codes"])
    assert done.exit_code == 1
    assert "biyi stand up" in done.output


def test_a_demo_that_ended_before_its_drill_names_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    (line,) = demo._say_what_is_left(keep=False)
    assert line.startswith("console:")


@pytest.fixture
def course(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that a demo takes, none of which does anything here."""
    taken: list[str] = []

    def step(name: str, *, ends: int | None = None) -> click.Command:
        @click.pass_context
        def act(_context: click.Context, **_options: object) -> None:
            taken.append(name)
            if ends is not None:
                sys.exit(ends)

        return click.Command(name, callback=act)

    async def people() -> DemoPeople:
        taken.append("people")
        return DemoPeople("Some-words-7", (DemoPerson("li.wei", Role.SERVICE),))

    for name, told in (("up_command", "up"), ("down_command", "down")):
        monkeypatch.setattr(demo, name, step(told))
    for name in ("day_end_command", "now_command", "status_command"):
        monkeypatch.setattr(demo, name, step(name.removesuffix("_command"), ends=0))
    monkeypatch.setattr(demo, "_make_people", people)
    monkeypatch.setattr(demo, "read_stand", lambda _: SimpleNamespace(port=lambda site, _: 15000))
    monkeypatch.setitem(demo.drills.commands, "site-loss", step("drill", ends=0))
    (home / "demo").mkdir()
    return taken


def test_a_demo_stays_up_with_people_who_are_made_after_its_drill(course: list[str]) -> None:
    done = CliRunner().invoke(demo.demo_command, [])
    assert done.exit_code == 0, done.output
    assert course == ["up", "drill", "people", "day_end", "now", "status"]
    assert "Some-words-7" in done.output


def test_a_demo_for_programs_leaves_nothing_up_and_nobody(course: list[str]) -> None:
    done = CliRunner().invoke(demo.demo_command, ["--no-keep", "--no-backups"])
    assert done.exit_code == 0, done.output
    assert course == ["up", "drill", "day_end", "down"]


def test_a_drill_that_does_not_hold_is_the_demos_answer_and_can_be_looked_at(
    course: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.pass_context
    def breaks(_context: click.Context, **_options: object) -> None:
        course.append("drill")
        sys.exit(1)

    monkeypatch.setitem(demo.drills.commands, "site-loss", click.Command("site-loss", callback=breaks))
    done = CliRunner().invoke(demo.demo_command, [])
    assert done.exit_code == 1
    assert course == ["up", "drill", "people"]


def test_a_demo_that_cannot_go_on_stops_what_it_started(
    course: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody() -> DemoPeople:
        raise OSError("the first cell does not answer")

    monkeypatch.setattr(demo, "_make_people", nobody)
    assert CliRunner().invoke(demo.demo_command, []).exit_code == 1
    assert course[-1] == "down"
