"""Complaints: the clocks on the calendar of working days, and what may be done next."""

import datetime as dt
from itertools import product as combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.errors import DocumentInvalid
from core_app.rules.read import read_rulebook
from core_app.servicing.complaints import Act, Done, State, compute_clocks, find_act_fault, next_state
from core_app.servicing.read import read_workdays
from core_app.servicing.workdays import NOTICES, make_workdays
from core_app.yaml_documents import parse_yaml
from tests.unit.core_app.product_documents import make_product

RULES, WORKDAYS = read_rulebook(), read_workdays()
CST = dt.timezone(dt.timedelta(hours=8))


def clocks(received: str, **servicing: int) -> tuple[str, str, str, str]:
    changes = {f"servicing.{name}": value for name, value in servicing.items()}
    at = dt.datetime.fromisoformat(received).replace(tzinfo=CST)
    found = compute_clocks(RULES, WORKDAYS, at, make_product(changes) if changes else None)
    days = (found.simple_by, found.complex_by, found.special_by)
    return (found.first_answer_by.astimezone(CST).strftime("%m-%d %H:%M"), *(day.isoformat() for day in days))


def test_four_hours_day_and_night_and_fifteen_thirty_sixty_days() -> None:
    # From Tuesday, 2026-03-10: 03-25 Wednesday, 04-09 Thursday, 05-09 a Saturday that is worked.
    assert clocks("2026-03-10 23:30") == ("03-11 03:30", "2026-03-25", "2026-04-09", "2026-05-09")


@pytest.mark.parametrize(
    ("received", "simple_by"),
    [
        ("2026-03-05 09:00", "2026-03-20"),  # a Friday
        ("2026-03-06 09:00", "2026-03-20"),  # its 15th day is a Saturday
        ("2026-03-07 09:00", "2026-03-20"),  # a Sunday
        ("2026-02-05 09:00", "2026-02-14"),  # in the Spring Festival, 02-15 to 02-23; 02-14 is worked
        ("2026-09-22 09:00", "2026-09-30"),  # 10-07, the last day of the National holiday
        ("2026-09-25 09:00", "2026-10-10"),  # a Saturday that is worked
    ],
)
def test_where_the_last_day_is_not_worked_the_one_before_it_counts(received: str, simple_by: str) -> None:
    assert clocks(received)[1] == simple_by


def test_a_product_may_promise_less_and_never_more() -> None:
    assert clocks("2026-03-10 10:00", complaint_hours=2, complaint_days=10)[:2] == (
        "03-10 12:00",
        "2026-03-20",
    )
    assert clocks("2026-03-10 10:00", complaint_hours=48, complaint_days=90)[:2] == (
        "03-10 14:00",
        "2026-03-25",
    )


@given(st.integers(0, 60 * 24 * 1200))
def test_no_clock_is_later_than_the_law_and_each_last_day_is_worked(minutes: int) -> None:
    at = dt.datetime(2025, 3, 1, tzinfo=CST) + dt.timedelta(minutes=minutes)
    found = compute_clocks(RULES, WORKDAYS, at, None)
    received = at.astimezone(CST).date()
    assert found.first_answer_by - at == dt.timedelta(hours=4)
    for last, count in ((found.simple_by, 15), (found.complex_by, 30), (found.special_by, 60)):
        assert received <= last <= received + dt.timedelta(days=count)
        assert WORKDAYS.is_worked(last)
    assert found.simple_by <= found.complex_by <= found.special_by


def test_the_notice_of_2026_is_complete() -> None:
    days = [dt.date(2026, 1, 1) + dt.timedelta(days=n) for n in range(365)]
    weekdays_off = [day for day in days if day.weekday() < 5 and not WORKDAYS.is_worked(day)]
    weekends_worked = [day for day in days if day.weekday() >= 5 and WORKDAYS.is_worked(day)]
    # 13 statutory days, two of them on a weekend, and the six weekend days that are worked instead.
    assert (len(weekdays_off), len(weekends_worked)) == (19, 6)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            "{year: 2026, source: x, holidays: [{from: 2027-01-01, to: 2027-01-02}], worked: []}",
            "days of 2026",
        ),
        ("{year: 2026, source: x, holidays: [{from: 2026-01-02, to: 2026-01-01}], worked: []}", "before"),
        ("{year: 2026, source: x, holidays: [], worked: [2026-01-05]}", "weekend"),
    ],
)
def test_a_bad_notice_is_refused(bad: str, words: str) -> None:
    with pytest.raises(DocumentInvalid, match=words):
        parse_yaml("holidays.yaml", f"[{bad}]", NOTICES)


def test_a_year_without_a_notice_knows_its_weekends() -> None:
    known = make_workdays(())
    assert [known.is_worked(dt.date(2030, 1, day)) for day in (4, 5, 6, 7)] == [True, False, False, True]


def do(*steps: tuple[Act, str]) -> tuple[State, list[Done]]:
    """Do one thing after the other; AssertionError when one is not possible."""
    state, done = State.OPEN, []
    for act, by in steps:
        wanted = Done(act, by)
        assert find_act_fault(state, done, wanted) is None, act
        state, done = next_state(state, act), [*done, wanted]
    return state, done


def test_the_loop_closes_over_a_reply_that_another_person_released() -> None:
    state, _ = do(
        (Act.FIRST_ANSWER, "li"),
        (Act.EXTEND_COMPLEX, "li"),
        (Act.DRAFT, "li"),
        (Act.RELEASE, "wang"),
        (Act.REOPEN, "li"),
        (Act.DRAFT, "wang"),
        (Act.RELEASE, "li"),
        (Act.CLOSE, "li"),
    )
    assert state is State.CLOSED


@pytest.mark.parametrize(
    ("before", "wanted", "words"),
    [
        ([(Act.FIRST_ANSWER, "li")], (Act.FIRST_ANSWER, "li"), "before"),
        ([], (Act.RELEASE, "wang"), "no draft"),
        ([(Act.DRAFT, "li")], (Act.RELEASE, "li"), "another person"),
        ([(Act.DRAFT, "wang"), (Act.DRAFT, "li")], (Act.RELEASE, "li"), "another person"),
        ([], (Act.EXTEND_SPECIAL, "li"), "one extension as complex"),
        ([(Act.EXTEND_COMPLEX, "li")], (Act.EXTEND_COMPLEX, "li"), "extended as complex before"),
        ([], (Act.CLOSE, "li"), "not decided"),
        ([], (Act.REOPEN, "li"), "not decided"),
        ([(Act.DRAFT, "li"), (Act.RELEASE, "wang")], (Act.DRAFT, "li"), "reopen it first"),
        (
            [(Act.DRAFT, "li"), (Act.RELEASE, "wang"), (Act.REOPEN, "li")],
            (Act.RELEASE, "wang"),
            "no draft",
        ),
    ],
)
def test_what_cannot_be_done_now_is_named(
    before: list[tuple[Act, str]], wanted: tuple[Act, str], words: str
) -> None:
    state, done = do(*before)
    assert words in str(find_act_fault(state, done, Done(*wanted)))


def test_nothing_is_done_with_a_closed_complaint() -> None:
    _, done = do((Act.DRAFT, "li"), (Act.RELEASE, "wang"), (Act.CLOSE, "li"))
    assert all(find_act_fault(State.CLOSED, done, Done(act, "li")) for act in Act)


@given(st.lists(st.sampled_from(list(combinations(Act, ["li", "wang"]))), max_size=25))
def test_whatever_is_tried_nobody_releases_their_own_draft(tries: list[tuple[Act, str]]) -> None:
    state, done = State.OPEN, []
    for act, by in tries:
        if find_act_fault(state, done, Done(act, by)) is None:
            state, done = next_state(state, act), [*done, Done(act, by)]
    for place, one in enumerate(done):
        if one.act is Act.RELEASE:
            drafts = [earlier.by for earlier in done[:place] if earlier.act is Act.DRAFT]
            assert drafts
            assert drafts[-1] != one.by
    assert [one.act for one in done].count(Act.FIRST_ANSWER) <= 1
    assert state is State.OPEN or Act.RELEASE in [one.act for one in done]
