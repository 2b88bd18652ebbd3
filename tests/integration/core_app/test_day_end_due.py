"""A timetable closes the days that are over, at whichever site and however often it runs."""

import asyncio
import dataclasses
import datetime as dt
from typing import Any

from core_app.core import LendingCore
from core_app.day_end.due import close_due
from core_app.day_end.service import DayEnd, read_status
from tests.integration.core_app.conftest import TODAY


def run_on(core: LendingCore, days_later: int) -> DayEnd:
    """The day-end of cell a, on a day of the calendar."""
    today = TODAY + dt.timedelta(days=days_later)
    return DayEnd(dataclasses.replace(core, read_today=lambda: today), "a", lambda *_: None)


async def date_of(core: LendingCore) -> Any:
    return (await read_status(core, "a"))["business_date"]


async def test_what_is_over_is_closed_once_and_today_never(core: LendingCore, cells: Any) -> None:
    # The first night: nothing is over yet, but from now on only day-end moves the date.
    assert await close_due(run_on(core, 0)) == ()
    assert await date_of(core) == TODAY.isoformat()
    # Two nights later, at both sites at once.
    both = await asyncio.gather(*(close_due(run_on(core, 2)) for _ in range(2)))
    over = [TODAY, TODAY + dt.timedelta(days=1)]
    assert [[one.day for one in closed] for closed in both] == [over, over]
    assert await close_due(run_on(core, 2)) == ()
    assert await date_of(core) == (TODAY + dt.timedelta(days=2)).isoformat()
    days = await cells.rows("select distinct on_date from core.day_end_progress order by 1")
    assert [day for (day,) in days] == over


async def test_a_cell_ahead_of_the_calendar_is_left_alone(core: LendingCore) -> None:
    await DayEnd(core, "a", lambda *_: None).run()
    assert await close_due(run_on(core, 0)) == ()
    assert await close_due(run_on(core, -3)) == ()
    assert await date_of(core) == (TODAY + dt.timedelta(days=1)).isoformat()
