"""Prometheus is told how many days a cell is late, with the payer's rights, and nothing that is stale."""

import dataclasses
import datetime as dt
from typing import Any

import pytest

from core_app.business_calendar import SHANGHAI
from core_app.day_end.watch import STALE_SECONDS, DayWatch
from core_app.directory import deal
from core_app.router import CellUnavailable
from tests.integration.core_app.lending import register

MORNING = dt.datetime(2026, 5, 4, 6, 0, tzinfo=SHANGHAI)


class Clock:
    now = MORNING

    def read(self) -> dt.datetime:
        return self.now.astimezone(dt.UTC)


@pytest.fixture
def watch(core: Any) -> DayWatch:
    return DayWatch(dataclasses.replace(core, router=core.router.payer), Clock().read)


def told(watch: DayWatch) -> dict[str, float]:
    return {sample.labels["cell"]: sample.value for one in watch.figures() for sample in one.samples}


async def test_days_that_are_not_closed_are_counted_by_cell(watch: DayWatch, cells: Any) -> None:
    cells.set_business_date("2026-05-04")
    cells.run_sql(cells.databases["b"], "update core.business_date set on_date = '2026-05-02'")
    await watch.look()
    assert told(watch) == {"a": 0, "b": 2}


async def test_a_cell_that_was_never_closed_is_late_from_its_first_change_on(
    watch: DayWatch, client: Any, cells: Any
) -> None:
    await watch.look()
    assert told(watch) == {"a": 0, "b": 0}, "nothing has happened yet: there is no day to close"
    await register(client)
    (began,) = (await cells.rows("select min(at) from core.outbox having min(at) is not null"))[0]
    watch.read_now = lambda: began + dt.timedelta(3)
    await watch.look()
    assert max(told(watch).values()) >= 2


async def test_what_was_not_read_lately_is_not_told(watch: DayWatch, cells: Any) -> None:
    cells.set_business_date("2026-05-02")
    await watch.look()

    class Away:
        cells = ("a", "b")
        directory = deal(cells)

        async def read(self, cell: str, *_: Any, **__: Any) -> None:
            raise CellUnavailable(cell, "not_done")

    watch.core = dataclasses.replace(watch.core, router=Away())
    later = MORNING + dt.timedelta(seconds=STALE_SECONDS)
    watch.read_now = lambda: later
    await watch.look()
    assert told(watch) == {"a": 2, "b": 2}
    watch.read_now = lambda: later + dt.timedelta(seconds=1)
    assert told(watch) == {}
