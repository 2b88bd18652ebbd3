"""Whether day-end was run when it should have been. Pure."""

import datetime as dt

from core_app.business_calendar import SHANGHAI, business_date_at

CLOSED_BY_HOUR = 6
"""O'clock in Shanghai by which yesterday has to be closed. Source: our choice, before people work and before
contact with borrowers may begin at 8 (rule collect.quiet_until)."""


def count_days_late(
    business_date: dt.date | None,
    begun_on: dt.date | None,
    now: dt.datetime,
    closed_by_hour: int = CLOSED_BY_HOUR,
) -> int:
    """Return how many business days should be closed by `now` and are not; ValueError unless it is aware.

    `business_date` is the first day that is still open, None while the cell follows the calendar: then none
    was ever closed since `begun_on`, the day of the cell's first command, None when there was none.

    >>> count_days_late(dt.date(2026, 5, 3), None, dt.datetime(2026, 5, 4, 5, tzinfo=SHANGHAI))
    0
    >>> count_days_late(dt.date(2026, 5, 3), None, dt.datetime(2026, 5, 4, 6, tzinfo=SHANGHAI))
    1
    """
    today = business_date_at(now)
    yet_to_come = now.astimezone(SHANGHAI).hour < closed_by_hour
    first_in_time = today - dt.timedelta(days=1 if yet_to_come else 0)
    first_open = business_date or begun_on
    return 0 if first_open is None else max(0, (first_in_time - first_open).days)
