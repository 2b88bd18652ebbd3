"""What the demo leaves: a report that can be opened now, and how to get to the console."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from runbooks import demo


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    folder = tmp_path / "evidence" / "20261123T000000Z-site-loss-idc"
    folder.mkdir(parents=True)
    header = (
        '{"type": "header", "drill": "site-loss", "site": "idc", "started_at": "2026-11-23T00:00:00+00:00"}'
    )
    (folder / "history.jsonl").write_text(header + "\n")
    (folder / "report.html").write_text("<p>")
    return tmp_path


def test_without_a_stand_only_the_report_is_named(home: Path) -> None:
    (line,) = demo._say_what_is_left(keep=False)
    assert line.startswith("report:  file:///")
    assert Path(line.removeprefix("report:  file://")).is_file()


@pytest.mark.parametrize("keep", [False, True])
def test_the_console_is_said_to_be_there_only_while_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(demo, "read_stand", lambda _: SimpleNamespace(port=lambda site, _: 15000))
    said = "\n".join(demo._say_what_is_left(keep=keep))
    assert "https://127.0.0.1:15000/" in said
    assert ("biyi stand up" in said) is not keep
    assert ("is there" in said) is keep
    assert ("biyi stand down" in said) is keep


def test_a_demo_that_ended_before_its_drill_names_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    assert demo._say_what_is_left(keep=False) == []
