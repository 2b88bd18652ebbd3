"""How a drill begins, is told from others, and is closed after it was killed."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runbooks.drills import cli, resume
from runbooks.drills.approval import ApprovalNeeded, asked_for
from runbooks.drills.catalogue import DRILLS, Drill, split_steps
from runbooks.drills.checkers import Verdict
from runbooks.drills.cli import drill, example_of
from runbooks.drills.history import HistoryWriter, read_history
from runbooks.drills.lock import DrillUnderWay, drill_lock, read_running
from runbooks.drills.past import find_interrupted, read_past
from runbooks.drills.plan import Target
from runbooks.drills.records import Header, Mark
from runbooks.drills.resume import _cut_torn_line, find_intents
from runbooks.drills.runners import RUNNERS, Done
from runbooks.drills.seal import SEAL_FILE

HEADER = Header("site-loss", "idc", 1, 40.0, "drill-x", "2026-11-23T00:00:00+00:00", 1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    return tmp_path


def leave(home: Path, name: str = "20261123T000000Z-site-loss-idc") -> Path:
    folder = home / "evidence" / name
    folder.mkdir(parents=True)
    writer = HistoryWriter(folder / "history.jsonl")
    writer.write(HEADER)
    writer.write(Mark(2, "intent", "about to kill idc (undo: biyi site start idc)"))
    writer.close()
    return folder


def test_every_drill_of_the_catalogue_can_be_run() -> None:
    assert set(RUNNERS) == set(DRILLS)


def test_every_drill_is_run_on_a_stand_by_a_test() -> None:
    texts = "".join(
        path.read_text() for path in sorted((Path(__file__).parents[2] / "faults").rglob("test_*.py"))
    )
    assert [name for name in DRILLS if f'"{name}"' not in texts] == []


@pytest.mark.parametrize("name", DRILLS)
def test_every_example_tells_a_drill_what_it_takes(name: str) -> None:
    told = example_of(DRILLS[name]).of(DRILLS[name])
    assert None not in told.values()
    assert all(f"--{option}" in DRILLS[name].words for option in told)


def test_without_execute_nothing_is_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> Done:
        raise AssertionError("it was run")

    async def nothing(*_: object) -> list[str]:
        return []

    monkeypatch.setattr(cli, "RUNNERS", dict.fromkeys(DRILLS, fail))
    monkeypatch.setattr(cli, "find_obstacles", nothing)
    shown = CliRunner().invoke(drill, ["run", "site-loss", "--site", "idc", "--json"])
    plain = json.loads(shown.output)
    assert (shown.exit_code, plain["executed"], plain["ready"]) == (0, False, True)
    assert "kill the site" in plain["steps"]
    assert plain["command"] == "biyi drill run site-loss --site idc --rate 40 --seed 1 --execute"
    assert not (home / "evidence").exists()


def test_what_stands_in_the_way_is_said_with_exit_1(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(*_: object) -> list[str]:
        return ["cell a is ALONE at idc, home is idc"]

    monkeypatch.setattr(cli, "find_obstacles", find)
    shown = CliRunner().invoke(drill, ["run", "link-cut"])
    assert shown.exit_code == 1
    assert "could not begin: cell a is ALONE" in shown.output
    assert "Nothing was done" in shown.output


def test_without_a_stand_a_drill_is_refused_before_anybody_is_asked(home: Path) -> None:
    for words in (["link-cut"], ["link-cut", "--execute"]):
        refused = CliRunner().invoke(drill, ["run", *words])
        assert refused.exit_code == 1
        assert "biyi stand up" in refused.output


def test_without_approval_a_dangerous_drill_does_not_begin(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def needed(*_: object) -> dict[str, str]:
        raise ApprovalNeeded("not begun: a security_admin has to approve it", "0" * 32)

    async def there() -> None:
        return None

    async def fail(*_: object) -> Done:
        raise AssertionError("it was run")

    monkeypatch.setattr(cli, "_need_stand", there)
    monkeypatch.setattr(cli, "settle_approval", needed)
    monkeypatch.setattr(cli, "RUNNERS", dict.fromkeys(DRILLS, fail))
    refused = CliRunner().invoke(drill, ["run", "site-loss", "--site", "idc", "--execute", "--json"])
    assert refused.exit_code == 1
    plain = json.loads(refused.stdout)
    assert (plain["executed"], plain["approval"]) == (False, "0" * 32)


def test_an_approval_is_of_one_drill_and_one_site() -> None:
    one = DRILLS["site-loss"]
    idc, cloud = (asked_for(one, {"site": site}).canonical() for site in ("idc", "cloud"))
    assert idc != cloud
    assert idc != asked_for(DRILLS["site-isolation"], {"site": "idc"}).canonical()
    assert idc == asked_for(one, {"site": "idc"}).canonical()


def test_due_drills_stop_at_the_first_that_does_not_hold(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    async def nobody(*_: object) -> dict[str, str]:
        return {}

    def perform(entry: Drill, *_: object) -> Done:
        ran.append(entry.name)
        verdict = "holds" if len(ran) == 1 else "unknown"
        return Done({"drill": ran[-1], "verdict": verdict}, lambda _: None)

    monkeypatch.setattr(cli, "settle_approval", nobody)
    monkeypatch.setattr(cli, "perform", perform)
    shown = CliRunner().invoke(drill, ["due", "--json"])
    assert shown.exit_code == 0
    assert {row["drill"] for row in json.loads(shown.output)} == set(DRILLS)
    assert ran == []
    done = CliRunner().invoke(drill, ["due", "--execute", "--json"])
    assert done.exit_code == cli.EXITS[Verdict.UNKNOWN]
    assert [row["verdict"] for row in json.loads(done.output)] == ["holds", "unknown"]
    assert len(ran) == 2


def test_a_refused_drill_does_not_keep_the_due_ones_from_running(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(*_: object) -> dict[str, str]:
        return {}

    def perform(entry: Drill, *_: object) -> Done:
        if entry.name == next(iter(DRILLS)):
            raise click.ClickException("it takes administrators")
        return Done({"drill": entry.name, "verdict": "holds"}, lambda _: None)

    monkeypatch.setattr(cli, "settle_approval", nobody)
    monkeypatch.setattr(cli, "perform", perform)
    done = CliRunner().invoke(drill, ["due", "--execute", "--most", "2", "--json"])
    told = json.loads(done.output)
    assert [row["executed"] for row in told] == [False, True, True]
    assert done.exit_code == 1


def test_only_one_drill_at_a_time(home: Path) -> None:
    with drill_lock(home) as lock:
        assert read_running(home) is None
        lock.tell("link-cut", home / "evidence" / "x")
        running = read_running(home)
        assert running is not None
        assert (running.drill, running.folder) == ("link-cut", "x")
        with pytest.raises(DrillUnderWay, match="link-cut"), drill_lock(home):
            pass
    assert read_running(home) is None
    with drill_lock(home):
        pass


def test_a_killed_drill_is_found_and_one_that_ended_is_not(home: Path) -> None:
    folder = leave(home)
    assert find_interrupted(home / "evidence") == [folder]
    (folder / SEAL_FILE).write_text("")
    assert find_interrupted(home / "evidence") == []


def test_what_a_killed_drill_was_about_to_do_can_be_read_and_written_on(home: Path) -> None:
    path = leave(home) / "history.jsonl"
    with path.open("a") as file:
        file.write('{"type": "mark", "at_')
    _cut_torn_line(path)
    writer = HistoryWriter(path)
    writer.write(Mark(3, "resumed", ""))
    writer.close()
    history = read_history(path)
    assert [mark.name for mark in history.marks] == ["intent", "resumed"]
    assert find_intents(history) == ["about to kill idc (undo: biyi site start idc)"]


@pytest.mark.parametrize("faults", [[], ["cell a is ALONE at cloud, home is idc"]])
async def test_a_killed_drill_is_closed_only_once_all_is_as_before(
    home: Path, monkeypatch: pytest.MonkeyPatch, faults: list[str]
) -> None:
    folder, said, sealed = leave(home), list[str](), list[Path]()

    async def up(*_: object) -> None:
        assert find_intents(read_history(folder / "history.jsonl"))
        said.append("up")

    async def bring_home(*_: object) -> list[str]:
        said.append("home")
        return faults

    monkeypatch.setattr(resume, "up", up)
    monkeypatch.setattr(resume, "_bring_home", bring_home)
    monkeypatch.setattr(resume, "stop_all_replicas", lambda _: 0)
    monkeypatch.setattr(resume, "seal_evidence", lambda _home, _site, where, _say: sealed.append(where))
    (one,) = await resume.resume_all(home, lambda _: None)
    assert said == ["up", "home"]
    assert (one["whole"], one["verdict"]) == (not faults, "unknown")
    assert sealed == ([] if faults else [folder])
    assert find_interrupted(home / "evidence") == ([folder] if faults else [])
    if not faults:
        assert read_past(home)[0].verdict == "unknown"
        assert await resume.resume_all(home, lambda _: None) == []


def test_steps_are_those_of_the_runbook() -> None:
    assert split_steps("check -> act\n -> verify.") == ("check", "act", "verify")
    assert Target(cell="b").of(DRILLS["link-cut"]) == {}
