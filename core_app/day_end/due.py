"""Close what is due in a cell by the calendar: for a timetable that knows no cell's date."""

import datetime as dt

from core_app.day_end.service import DayClosed, DayEnd


async def close_due(run: DayEnd) -> tuple[DayClosed, ...]:
    """Close the cell's open days that are over by the calendar, the oldest first; none is no error.

    May run at both sites and as often as one likes. A cell that follows the calendar is taken over, so that
    its first day is due when it is over. CellUnavailable as `DayEnd.run`; DayNotOpen when a day that was
    closed did not move the date on.
    """
    first = await run.take_over()
    over = (run.core.read_today() - first).days
    return tuple([await run.run(first + dt.timedelta(days=n)) for n in range(over)])
