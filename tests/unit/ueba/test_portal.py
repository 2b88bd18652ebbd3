"""Rows of the portal's outbox become events; who looks and who is looked at stay pseudonyms."""

import datetime as dt

import pytest

from ueba.events import Event
from ueba.portal import ENDED, LOOKED, PAGED, BadRow, Pseudonyms, Row, event_of, merge, read_timely
from ueba.settings import IngestSettings

AT = dt.datetime(2026, 3, 2, 2, tzinfo=dt.UTC)
LOOK_ID = "S0a1-" + "0" * 32
LOOK = {
    "look_id": LOOK_ID,
    "staff": "li.na",
    "role": "service",
    "branch": "branch-7",
    "subject": "loan",
    "customer_id": "C" + "0" * 24,
    "fields": ["name", "phone"],
    "clear": True,
    "kind": "unmask",
    "assigned": False,
    "purpose": "collection",
    "case_id": "WO-17",
    "site": "idc",
    "terminal": "desk-4",
    "at": AT.isoformat(),
}
NAMES = Pseudonyms(lambda staff: f"e-{len(staff)}", lambda customer: f"t-{len(customer)}")


def test_a_look_is_an_event_with_its_dwell_whichever_comes_first():
    rows = [
        Row(ENDED, LOOK_ID, AT, {"look_id": LOOK_ID, "dwell_ms": 4200}),
        Row(LOOKED, LOOK_ID, AT, LOOK),
        Row("staff.look_beat", LOOK_ID, AT, {"dwell_ms": 3000}),
        Row("loan.drawn", "L1", AT, {}),
    ]
    for order in (rows, rows[::-1]):
        (event,), bad = merge(order, NAMES)
        assert not bad
        assert (event.event_id, event.staff, event.action, event.dwell_ms) == (LOOK_ID, "e-5", "unmask", 4200)
        assert (event.fields, event.case_id, event.result) == (("name", "phone"), "WO-17", "ok")
        assert (event.role, event.branch, event.assigned) == ("service", "branch-7", False)
        told = event.model_dump_json()
        assert LOOK["customer_id"] not in told
        assert "li.na" not in told


def test_trying_ids_out_is_behaviour_too():
    row = Row(LOOKED, LOOK_ID, AT, LOOK | {"customer_id": None, "fields": [], "clear": False, "kind": "view"})
    event = event_of(row, NAMES)
    assert (event.action, event.customer, event.result) == ("view", None, "not_found")


def test_an_export_takes_rows_out_and_a_list_does_not():
    page = {"staff": "li.na", "action": "export", "rows": 320, "purpose": "collection", "site": "idc"}
    assert event_of(Row(PAGED, "S1", AT, page), NAMES).rows == 320
    assert event_of(Row(PAGED, "S1", AT, page | {"action": "list"}), NAMES).rows == 0


@pytest.mark.parametrize(
    ("topic", "payload", "action", "result"),
    [
        ("staff.login", {"action": "login", "result": "denied", "role": ""}, "login", "denied"),
        ("staff.approval", {"action": "approve"}, "approve", "ok"),
        ("staff.account_changed", {"action": "roles_set", "about": "wang.fang"}, "roles_set", "ok"),
        ("staff.reviewed", {"action": "review_confirm", "case_id": "W-" + "0" * 32}, "review_confirm", "ok"),
    ],
)
def test_the_watchers_acts_are_events_too(topic, payload, action, result):
    event = event_of(Row(topic, "k1", AT, {"staff": "deng.li"} | payload), NAMES)
    assert (event.staff, event.action, event.result) == ("e-7", action, result)
    assert "wang.fang" not in event.model_dump_json()


def test_a_login_under_no_accounts_name_is_nobodys():
    assert event_of(Row("staff.login", "k1", AT, {"staff": None, "action": "login"}), NAMES) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"terminal": "no such terminal!"},
        {"fields": 7},
        {"customer_id": 5},
        {"kind": "\u7a7a"},
        {"clear": None} | {"kind": 3},
    ],
)
def test_a_row_that_is_no_event_is_named_and_holds_nothing_up(wrong):
    good = Row(LOOKED, "S1-good", AT, LOOK | {"clear": False, "kind": "view"})
    bad = Row(LOOKED, "S1-bad", AT, LOOK | {"clear": False, "kind": "view"} | wrong)
    events, faults = merge([bad, good], NAMES)
    assert [one.event_id for one in events] == ["S1-good"]
    assert [one.key for one in faults] == ["S1-bad"]
    assert faults[0].faults[0].reason


@pytest.mark.parametrize(
    ("off", "made"),
    [
        (dt.timedelta(seconds=300), Event),
        (dt.timedelta(seconds=301), BadRow),
        (dt.timedelta(minutes=-90), Event),
        (dt.timedelta(days=-2, seconds=-1), type(None)),
    ],
)
def test_a_watcher_counts_nothing_on_a_day_that_has_not_come(off, made):
    row = Row(LOOKED, LOOK_ID, AT + off, LOOK)
    found = read_timely(row, NAMES, AT, dt.timedelta(days=2), IngestSettings())
    assert type(found) is made
    if made is BadRow:
        assert (found.key, found.faults[0].field) == (LOOK_ID, "at")
