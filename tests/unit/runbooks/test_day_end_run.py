"""`biyi day-end run`: what it closes with and without --due, and its exit codes."""

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from core_app.day_end.service import DayClosed, DayNotOpen
from core_app.router import CellUnavailable
from runbooks import day_end as module

TODAY = dt.date(2026, 5, 4)


class Run:
    """A cell's day-end on a date of its own; cell c is away."""

    open_days = {"a": TODAY - dt.timedelta(days=2), "b": TODAY}  # noqa: RUF012

    def __init__(self, core: Any, cell: str, *_: object) -> None:
        self.core, self.cell = core, cell

    async def take_over(self) -> dt.date:
        if self.cell == "c":
            raise CellUnavailable("c", "not_done")
        return self.open_days[self.cell]

    read_open_day = take_over

    async def run(self, day: dt.date | None = None) -> DayClosed:
        if day is not None and self.cell == "b":
            raise DayNotOpen(f"cell b is not on {day}")
        return DayClosed(self.cell, day or await self.take_over(), 5, 5, 0.1)


@pytest.fixture
def site_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    @contextlib.asynccontextmanager
    async def open_core(settings: object) -> AsyncIterator[Any]:
        assert settings == "what the file says"
        yield SimpleNamespace(router=SimpleNamespace(cells=("a", "b", "c")), read_today=lambda: TODAY)

    path = tmp_path / "site.json"
    monkeypatch.setattr(module, "read_site_settings", lambda file: {path: "what the file says"}[file])
    monkeypatch.setattr(module, "open_core", open_core)
    monkeypatch.setattr(module, "DayEnd", Run)
    monkeypatch.setattr(module, "read_calendar", lambda: TODAY)
    return path


def run(site_file: Path, *words: str) -> tuple[int, Any]:
    done = CliRunner().invoke(module.day_end, ["run", "--settings", str(site_file), "--json", *words])
    return done.exit_code, json.loads(done.stdout) if done.exit_code != 2 else done.output


def test_due_closes_what_is_over_and_nothing_due_is_no_error(site_file: Path) -> None:
    code, told = run(site_file, "--due", "--cell", "a", "--cell", "b")
    assert (code, told["failed"]) == (0, {})
    assert [(one["cell"], one["day"]) for one in told["closed"]] == [("a", "2026-05-02"), ("a", "2026-05-03")]


def test_a_cell_that_is_away_is_exit_3_and_one_that_refuses_exit_1(site_file: Path) -> None:
    code, told = run(site_file, "--due")
    assert (code, told["failed"]) == (3, {"c": "cell c: not_done"})
    assert {one["cell"] for one in told["closed"]} == {"a"}
    code, told = run(site_file, "--cell", "a", "--cell", "b", "--date", "2026-05-02")
    assert (code, told["failed"]) == (1, {"b": "cell b is not on 2026-05-02"})


def test_without_due_each_cells_own_day_is_closed(site_file: Path) -> None:
    code, told = run(site_file, "--cell", "a", "--cell", "b")
    assert (code, [one["day"] for one in told["closed"]]) == (0, ["2026-05-02", "2026-05-04"])


@pytest.mark.parametrize("words", [("--date", "2026-05-02"), ("--ahead",)])
def test_due_goes_by_the_calendar_alone(site_file: Path, words: tuple[str, ...]) -> None:
    code, said = run(site_file, "--due", *words)
    assert code == 2
    assert "goes by the calendar" in said
