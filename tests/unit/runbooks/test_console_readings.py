"""No page waits for a reading, and none is taken for younger than it is."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runbooks.console.figures import COMMANDS, find_alerts, make_figures
from runbooks.console.packs import read_board
from runbooks.console.read import run_one
from runbooks.console.readings import MOST_WAITING, Commands, ReadingFailed, Readings, parse_said
from tests.unit.runbooks.console_core import SAID

KEYS: Commands = (("keys", "status", "--json"),)


class Desk:
    """Answers when it is let to; a clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
        self.may = asyncio.Event()
        self.begun = 0
        self.at_once = 0
        self.most_at_once = 0
        self.fails = False
        self.out = "[1]"

    async def run(self, _commands: Commands) -> Sequence[Mapping[str, Any]]:
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may.wait()
        finally:
            self.at_once -= 1
        if self.fails:
            raise ReadingFailed("no answer")
        return [{"exit": 0, "out": self.out, "err": "a\nwhy it said nothing\n"}]

    def readings(self) -> Readings:
        return Readings(self.run, lambda: self.now)


async def settle(readings: Readings) -> None:
    while readings.look(KEYS, float("inf")).busy:
        await asyncio.sleep(0)


async def test_a_page_comes_at_once_and_the_reading_later():
    desk = Desk()
    readings = desk.readings()
    async with readings.running():
        first = readings.look(KEYS, 60)
        assert (first.answers, first.busy) == (None, True)
        asked_at = desk.now
        await asyncio.sleep(0)
        desk.now += dt.timedelta(seconds=20)
        desk.may.set()
        await settle(readings)
        found = readings.look(KEYS, 60)
    assert found.answers is not None
    assert found.answers[0].plain == [1]
    assert found.read_at == asked_at, "as old as the question, not as the answer"


async def test_many_who_look_cost_one_reading_and_two_readings_never_run_at_once():
    desk = Desk()
    readings = desk.readings()
    async with readings.running():
        for _ in range(20):
            readings.look(KEYS, 60)
            readings.look((("backup", "status"),), 60)
            await asyncio.sleep(0)
        desk.may.set()
        await settle(readings)
        while readings.look((("backup", "status"),), float("inf")).busy:
            await asyncio.sleep(0)
        readings.look(KEYS, 60)
        await asyncio.sleep(0)
        assert (desk.begun, desk.most_at_once) == (2, 1)
        desk.now += dt.timedelta(seconds=61)
        assert readings.look(KEYS, 60).busy, "old enough to be read anew"


async def test_only_so_many_wait():
    desk = Desk()
    readings = desk.readings()
    async with readings.running():
        for number in range(MOST_WAITING):
            assert readings.look((("audit", "search", str(number)),), 60).busy
        refused = readings.look((("audit", "search", "one more"),), 60)
        assert (refused.busy, "too many" in refused.failed) == (False, True)


async def test_a_reading_that_fails_is_said_beside_the_old_one():
    desk = Desk()
    readings = desk.readings()
    async with readings.running():
        desk.may.set()
        readings.look(KEYS, 60)
        await settle(readings)
        first = readings.look(KEYS, 60)
        desk.now += dt.timedelta(seconds=61)
        desk.fails = True
        readings.look(KEYS, 60)
        await settle(readings)
        after = readings.look(KEYS, 60)
        assert (after.failed, after.read_at, after.answers) == ("no answer", first.read_at, first.answers)
        assert not after.busy, "it is left alone a moment"
        desk.now += dt.timedelta(seconds=6)
        assert readings.look(KEYS, 60).busy


def test_a_command_that_says_no_json_has_no_answer_but_a_complaint():
    said = parse_said({"exit": 3, "out": "x", "err": "first\nbiyi keys: a cell is away\n"})
    assert (said.seen, said.exit, said.error) == (False, 3, "biyi keys: a cell is away")


def test_commands_are_run_and_a_refused_one_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    assert '"site-loss"' in run_one(["drill", "list", "--json"])["out"]
    refused = run_one(["keys", "status", "--json"])
    assert (refused["exit"], refused["out"]) == (1, "")
    assert "no stand" in refused["err"]
    assert run_one(["no-such-command"])["exit"] == 2


def test_what_commands_did_not_say_is_no_figure_and_what_they_said_is_judged():
    answers = [
        SAID[" ".join(words[:2])] if " ".join(words[:2]) in SAID else SAID[words[0]] for words in COMMANDS
    ]
    whole = make_figures(answers)
    assert len(whole) >= 20
    assert {one.group for one in make_figures([None, *answers[1:]])} == {
        "ledger",
        "payouts",
        "day_end",
        "filings",
    }
    assert make_figures([None] * len(COMMANDS)) == []
    bad = [one.name[1] for one in find_alerts(whole) if one.state == "bad"]
    assert bad == ["Non-performing loans", "Days not closed, cell a", "Batches rejected"]
    unbalanced = make_figures([None, {"balances": [], "unbalanced": [{}]}, None, None, None])
    assert [one.state for one in unbalanced] == ["bad"]


def test_without_a_pack_there_is_no_board(tmp_path: Path):
    assert read_board(tmp_path, tmp_path / "keys.json") is None
