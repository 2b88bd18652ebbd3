"""What the demo leaves: a report that can be opened now, and how to get to the console."""

import re
from pathlib import Path
from types import SimpleNamespace

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
