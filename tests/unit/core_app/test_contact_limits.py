"""The contact limits: what each rule refuses, and that nothing gets past them."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.rules.legal import Stage
from core_app.rules.read import read_rulebook
from core_app.servicing.contact import (
    CONTACT_PERSON,
    DEBTOR,
    VOICE,
    Channel,
    Contact,
    History,
    count_quiet_minutes,
    judge_contact,
)
from core_app.servicing.read import read_scripts
from core_app.servicing.scripts import Debt, make_words
from tests.unit.core_app.product_documents import make_product

RULES = read_rulebook()
PRODUCT = make_product()
CST = dt.timezone(dt.timedelta(hours=8))
DAY = dt.date(2026, 2, 19)
NOON = dt.datetime(2026, 2, 19, 12, 0, tzinfo=CST)
CALL = Contact(Channel.PERSON, DEBTOR, NOON, "words that break no rule")
NOTHING_YET = History(110_000, 0, 0, 0, person_refused=False, rest_until=None)


def refused(contact: Contact = CALL, history: History = NOTHING_YET, **changes: object) -> set[str]:
    limits = make_product({f"collection.{name}": value for name, value in changes.items()}).collection
    return {one.rule for one in judge_contact(RULES, limits, contact, history)}


def test_a_call_at_noon_to_who_is_overdue_breaks_no_rule() -> None:
    assert refused() == set()


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [("07:59", True), ("08:00", False), ("21:59", False), ("22:00", True), ("23:59", True), ("00:00", True)],
)
def test_nobody_is_contacted_from_ten_in_the_evening_to_eight(clock: str, quiet: bool) -> None:
    at = dt.datetime.combine(DAY, dt.time.fromisoformat(clock), CST)
    assert refused(replace(CALL, at=at)) == ({"collect.hours"} if quiet else set())


def test_a_product_with_longer_quiet_hours_keeps_them() -> None:
    evening = replace(CALL, at=NOON.replace(hour=20))
    assert refused(evening, quiet_from_hour=20) == {"collect.hours"}
    # One that was published with shorter ones is held to the law's.
    assert refused(replace(CALL, at=NOON.replace(hour=22)), quiet_from_hour=23) == {"collect.hours"}


def test_a_fourth_voice_contact_a_day_is_refused_and_a_products_own_limit_earlier() -> None:
    assert [refused(history=replace(NOTHING_YET, voice_today=n)) for n in (0, 2, 3)] == [
        set(),
        set(),
        {"collect.voice_per_day", "collect.own_voice_per_day"},
    ]
    assert refused(history=replace(NOTHING_YET, voice_today=1), voice_per_day=1) == {
        "collect.own_voice_per_day"
    }
    message = replace(CALL, channel=Channel.SMS)
    assert refused(message, replace(NOTHING_YET, voice_today=9)) == set(), "a message is no call"


def test_a_second_message_of_a_day_is_refused() -> None:
    message = replace(CALL, channel=Channel.SMS)
    assert refused(message, replace(NOTHING_YET, messages_today=1)) == {"collect.messages_per_day"}


@pytest.mark.parametrize("whom", ["spouse", "employer", "colleague", "anybody"])
def test_nobody_but_the_debtor_is_contacted(whom: str) -> None:
    assert "collect.whom" in refused(replace(CALL, whom=whom))


def test_a_contact_person_only_by_a_person_when_the_debtor_is_not_reached_and_nobody_refused() -> None:
    call, unreached = replace(CALL, whom=CONTACT_PERSON), replace(NOTHING_YET, unanswered=3)
    assert refused(call, unreached) == set()
    for missing in (
        refused(call, replace(unreached, unanswered=2)),
        refused(call, replace(unreached, person_refused=True)),
        refused(replace(call, channel=Channel.VOICE_ROBOT), unreached),
        refused(call, unreached, contact_person="never"),
    ):
        assert missing == {"collect.contact_person"}


def test_who_owes_nothing_or_rests_is_left_alone_to_the_last_day() -> None:
    assert refused(history=replace(NOTHING_YET, overdue_fen=0)) == {"collect.owed"}
    assert refused(history=replace(NOTHING_YET, rest_until=DAY)) == {"collect.hardship"}
    assert refused(history=replace(NOTHING_YET, rest_until=DAY - dt.timedelta(days=1))) == set()


def test_a_threat_is_refused_and_not_repeated_in_the_record() -> None:
    threat = replace(CALL, text="再不还就曝光你")
    (refusal,) = judge_contact(RULES, PRODUCT.collection, threat, NOTHING_YET)
    assert (refusal.rule, refusal.found) == ("collect.phrase", "a phrase of the list")
    assert refused(replace(CALL, text="Pay or we go to your EMPLOYER")) == {"collect.phrase"}


def test_before_the_standard_no_rule_of_it_held() -> None:
    before = {row.key for row in RULES.in_force(Stage.CONTACT, dt.date(2025, 2, 27))}
    assert before == set()
    assert all(row.source for row in RULES.in_force(Stage.CONTACT, DAY))


contacts = st.builds(
    Contact,
    st.sampled_from(Channel),
    st.sampled_from([DEBTOR, CONTACT_PERSON, "employer"]),
    st.integers(0, 60 * 24 * 1600).map(lambda minutes: NOON + dt.timedelta(minutes=minutes)),
    st.sampled_from(["words", "坐牢"]),
)
histories = st.builds(
    History,
    overdue_fen=st.integers(0, 10**7),
    voice_today=st.integers(0, 6),
    messages_today=st.integers(0, 4),
    unanswered=st.integers(0, 6),
    person_refused=st.booleans(),
    rest_until=st.none() | st.dates(dt.date(2025, 3, 1), dt.date(2030, 1, 1)),
)


@given(contacts, histories)
def test_what_is_let_through_keeps_every_limit_whatever_else_is_true(
    contact: Contact, history: History
) -> None:
    """Said once more in plain words, not by the rules' own measures."""
    if judge_contact(RULES, PRODUCT.collection, contact, history):
        return
    local = contact.at.astimezone(CST)
    assert 8 <= local.hour < 22
    assert contact.whom in (DEBTOR, CONTACT_PERSON)
    assert contact.whom == DEBTOR or (history.unanswered >= 3 and not history.person_refused)
    assert contact.channel in VOICE or history.messages_today == 0
    assert contact.channel not in VOICE or contact.whom != DEBTOR or history.voice_today < 3
    assert history.overdue_fen > 0
    assert history.rest_until is None or history.rest_until < local.date()
    assert contact.text == "words"


@given(contacts, histories, st.integers(0, 5))
def test_more_contacts_before_never_let_one_more_through(
    contact: Contact, history: History, more: int
) -> None:
    worse = replace(
        history, voice_today=history.voice_today + more, messages_today=history.messages_today + more
    )
    before = {one.rule for one in judge_contact(RULES, PRODUCT.collection, contact, history)}
    assert before <= {one.rule for one in judge_contact(RULES, PRODUCT.collection, contact, worse)}


@given(st.integers(0, 24 * 60 - 1), st.integers(12, 24), st.integers(0, 12))
def test_quiet_minutes_are_those_since_the_quiet_hours_began(minute: int, begins: int, ends: int) -> None:
    at = dt.datetime.combine(DAY, dt.time(minute // 60, minute % 60), CST)
    inside = minute >= begins * 60 or minute < ends * 60
    since = (minute - begins * 60) % (24 * 60)
    assert count_quiet_minutes(at, (begins, ends)) == (since + 1 if inside else 0)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        count_quiet_minutes(NOON.replace(tzinfo=None), (22, 8))


@pytest.mark.parametrize("script", read_scripts().by_id.values(), ids=read_scripts().by_id)
def test_no_version_of_a_script_breaks_a_rule_or_names_a_person(script: object) -> None:
    debt = Debt(110_016, dt.date(2026, 2, 15), 4)
    for version in script.versions:  # type: ignore[attr-defined]
        words = make_words(version, debt, PRODUCT.disclosures.complaint_phone)
        assert refused(replace(CALL, text=words)) == set(), words
        assert "{" not in words
        if not script.discloses:  # type: ignore[attr-defined]
            for told in ("1,100.16", "2026-02-15", "逾期", "overdue", "loan", "贷款"):
                assert told not in words, words
