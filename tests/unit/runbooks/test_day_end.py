"""What `biyi day-end status` calls an alarm."""

from runbooks.day_end import find_alarms


def test_only_a_late_cell_is_an_alarm_and_it_says_since_when_and_what_to_do() -> None:
    rows = [
        {"cell": "a", "days_late": 0, "business_date": "2026-05-03", "begun_on": "2026-01-01"},
        {"cell": "b", "days_late": 2, "business_date": "2026-05-01", "begun_on": "2026-01-01"},
        {"cell": "c", "days_late": 9, "business_date": None, "begun_on": "2026-04-24"},
    ]
    second, third = find_alarms(rows)
    assert second == (
        "cell b: 2 business days are not closed, the first is 2026-05-01; biyi day-end run --cell b"
    )
    assert "the first is 2026-04-24" in third
