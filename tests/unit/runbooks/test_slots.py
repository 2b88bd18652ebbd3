"""Slots on their way: what an operator is shown of a move, what Prometheus is told, and what is not filed."""

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compliance.reporting.batch import Kind
from compliance.reporting.errors import FilingRefused
from core_app.directory import Directory, Moving, Phase, deal
from core_app.moving.watch import move_figures, read_age_seconds
from runbooks import report, slots

BEGUN = dt.datetime(2026, 1, 15, 8, tzinfo=dt.UTC)
MOVING = Moving(1, "a", "b", 1, Phase.COPYING, "operator:li", BEGUN.isoformat())
CALM = deal(("a", "b"))
UNDER_WAY = CALM.begin(MOVING)


def shown(monkeypatch: pytest.MonkeyPatch, directory: Directory, worker: bool | None, *words: str) -> str:
    async def look(*_: Any) -> tuple[Directory, bool | None]:
        return directory, worker

    monkeypatch.setattr(slots, "_with_mover", look)
    monkeypatch.setattr(slots, "utc_now", lambda: BEGUN + dt.timedelta(minutes=75))
    done = CliRunner().invoke(slots.slot, ["list", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_move_that_was_left_behind_is_shown_with_its_age_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = shown(monkeypatch, UNDER_WAY, worker=False)
    assert "slots 4-7: copying from a to b, begun by operator:li 1:15:00 ago; nobody is at it" in words
    assert "biyi slot abort" in words
    assert "somebody is at it" in shown(monkeypatch, UNDER_WAY, worker=True)
    assert "a cell does not answer" in shown(monkeypatch, UNDER_WAY, worker=None)
    assert "ago" not in shown(monkeypatch, CALM, worker=None)
    told = json.loads(shown(monkeypatch, UNDER_WAY, False, "--json"))
    assert told["moving"]["worked_on"] is False
    assert json.loads(shown(monkeypatch, CALM, None, "--json"))["moving"] is None


def test_prometheus_is_told_how_old_a_move_is_while_there_is_one() -> None:
    def told(directory: Directory) -> dict[tuple[str, ...], float]:
        figures = move_figures(directory, BEGUN + dt.timedelta(seconds=90))
        return {tuple(one.labels.values()): one.value for family in figures for one in family.samples}

    assert told(CALM) == {}
    assert told(UNDER_WAY) == {("4-7", "a", "b", "copying"): 90.0}
    assert told(UNDER_WAY.arrive(MOVING)) == {("4-7", "a", "b", "arrived"): 90.0}
    assert told(UNDER_WAY.end()) == {}


@pytest.mark.parametrize("at", ["", "yesterday", "2026-01-15T08:00:00"])
def test_a_beginning_that_cannot_be_read_is_told_as_old(at: str) -> None:
    moving = Moving(1, "a", "b", 1, Phase.COPYING, "me", at)
    assert read_age_seconds(moving, BEGUN) == math.inf


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        (CALM, CALM, False),
        (UNDER_WAY, UNDER_WAY, True),
        (UNDER_WAY, UNDER_WAY.arrive(MOVING).end(), True),
        (CALM, UNDER_WAY, True),
        (CALM, UNDER_WAY.arrive(MOVING).end(), True),
        (CALM, UNDER_WAY.end(), True),
    ],
    ids=["calm", "under way", "ended meanwhile", "begun meanwhile", "begun and ended", "begun and undone"],
)
async def test_nothing_is_filed_of_books_between_which_slots_moved(
    monkeypatch: pytest.MonkeyPatch, before: Directory, after: Directory, refused: bool
) -> None:
    read = iter([before, after])

    async def read_directory(*_: Any) -> Directory:
        return next(read)

    async def make_filing(*_: Any) -> str:
        return "made"

    monkeypatch.setattr(report, "_read_directory", read_directory)
    monkeypatch.setattr(report, "make_filing", make_filing)
    house: Any = report.House(("a", "b"), None, None, None, Path())  # type: ignore[arg-type]
    evening: Any = None
    if refused:
        with pytest.raises(FilingRefused, match="slots moved"):
            await report._make_settled(house, Kind.EAST, evening)
    else:
        made: Any = await report._make_settled(house, Kind.EAST, evening)
        assert made == "made"
