"""A day-end that was not run is seen: from which hour on, and for how many days."""

import datetime as dt

import pytest

from core_app.business_calendar import SHANGHAI
from core_app.day_end.lateness import CLOSED_BY_HOUR, count_days_late

DAY = dt.date(2026, 5, 3)


def at(days: int, hour: int, minute: int = 0) -> dt.datetime:
    local = dt.datetime.combine(DAY + dt.timedelta(days=days), dt.time(hour, minute), SHANGHAI)
    return local.astimezone(dt.UTC)


@pytest.mark.parametrize(
    ("now", "late"),
    [
        (at(0, 23), 0),
        (at(1, 0), 0),
        (at(1, CLOSED_BY_HOUR - 1, 59), 0),
        (at(1, CLOSED_BY_HOUR), 1),
        (at(2, CLOSED_BY_HOUR - 1), 1),
        (at(2, CLOSED_BY_HOUR), 2),
        (at(30, 12), 30),
    ],
)
def test_a_day_is_late_from_the_hour_on_at_which_it_has_to_be_closed(now: dt.datetime, late: int) -> None:
    assert count_days_late(DAY, None, now) == late
    assert count_days_late(None, DAY, now) == late, "never run since its first command: the same"


def test_a_date_ahead_of_the_calendar_and_a_cell_without_commands_are_not_late() -> None:
    assert count_days_late(DAY + dt.timedelta(days=9), None, at(0, 12)) == 0
    assert count_days_late(None, None, at(0, 12)) == 0


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        count_days_late(DAY, None, dt.datetime.fromisoformat("2026-05-04T12:00"))
