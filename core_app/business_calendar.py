"""Business dates: the lending day in China, and due dates month by month. Pure.

Rules take a date as argument. The shell asks `business_date_at` once per request, and the table
core.business_date overrides it (day-end and replays set it).
"""

import calendar
import datetime as dt
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")


def business_date_at(instant: dt.datetime) -> dt.date:
    """Return the calendar date in Shanghai at `instant`; ValueError when it is not aware."""
    if instant.tzinfo is None:
        raise ValueError("instant without time zone: needs an aware datetime")
    return instant.astimezone(SHANGHAI).date()


def add_months(start: dt.date, months: int) -> dt.date:
    """Return the same day `months` later, or that month's last day when it is shorter.

    >>> add_months(dt.date(2026, 1, 31), 1)
    datetime.date(2026, 2, 28)
    """
    index = start.year * 12 + start.month - 1 + months
    year, month = divmod(index, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return dt.date(year, month + 1, min(start.day, last))


def age_on(born: dt.date, day: dt.date) -> int:
    """Return completed years of age; one born on 29 February has the birthday on 1 March else."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))
