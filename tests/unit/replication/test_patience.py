"""The watchdog's patience runs once: an agent that should have ended its primaries beats no more."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from replication import watchdog
from replication.agent import show_life
from replication.failover.sight import SiteSight
from replication.failover.view import SiteView
from replication.model import Site, other_data_site
from replication.simulator.faults import Fault, Kind
from replication.simulator.links import Line
from replication.simulator.schedule import Schedule, run_schedule
from replication.watchdog import Heartbeat, read_heartbeat_ms

SEEDS = range(40)


def cut_off_frozen_and_crashed(home: Site) -> tuple[Fault, ...]:
    """Cut off and ALONE, frozen shortly before the fence, crashed as it wakes; the copy is forced."""
    away = other_data_site(home)
    primary, copy = f"a-{home}-0", f"a-{away}-0"
    return (
        Fault(198, Kind.SPLIT, home, primary, 3500),
        Fault(1007, Kind.ISOLATE, home, primary, 2605),
        Fault(1439, Kind.AGENT_PAUSE, home, primary, 988, Line.SLOW, 2),
        Fault(1706, Kind.AGENT_CRASH_AT, home, primary, 81, Line.CUT, 0),
        Fault(2499, Kind.FORCE, away, copy, 1308),
    )


def found_rules() -> set[str]:
    runs = (run_schedule(seed, faults=cut_off_frozen_and_crashed(Schedule(seed).home)) for seed in SEEDS)
    return {ran.found.rule for ran in runs if ran.found is not None}


def test_freezing_waking_and_crashing_buys_a_primary_no_second_patience() -> None:
    assert found_rules() == set()


def test_the_rule_is_found_where_every_beat_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiteSight, "is_overdue", lambda _: False)
    assert found_rules() == {"I6"}


def test_a_new_agent_goes_on_from_the_beat_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agent.heartbeat"
    now = [5_000]
    monkeypatch.setattr(watchdog, "now_ms", lambda: now[0])
    Heartbeat(path).beat()
    now[0] = 9_000
    after = Heartbeat(path)
    assert read_heartbeat_ms(path) == 5_000
    after.beat()
    assert read_heartbeat_ms(path) == 9_000
    now[0] = 100  # the machine was started anew
    Heartbeat(path)
    assert read_heartbeat_ms(path) == 100


class Looks:
    """A site's view that looks once for each given word, in turn, and then ends."""

    def __init__(self, overdue: list[bool], heartbeat: Path) -> None:
        self.beats: list[int] = []
        self.sight = self
        self._overdue, self._heartbeat = iter(overdue), heartbeat

    async def next_look(self, after: int) -> int:
        self.beats.append(read_heartbeat_ms(self._heartbeat))
        return after + 1

    def is_overdue(self) -> bool:
        try:
            return next(self._overdue)
        except StopIteration:
            raise asyncio.CancelledError from None


async def test_an_agent_beats_after_each_look_but_not_while_its_primaries_are_overdue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1, 100))
    monkeypatch.setattr(watchdog, "now_ms", lambda: next(clock))
    path = tmp_path / "agent.heartbeat"
    looks = Looks([False, True, True, False], path)
    with pytest.raises(asyncio.CancelledError):
        await show_life(cast(SiteView, looks), Heartbeat(path))
    at_start, after_beat, overdue, still_overdue, at_end = looks.beats
    assert at_start < after_beat == overdue == still_overdue < at_end
