"""Rows of the portal's outbox become events; who is looked at stays a pseudonym."""

import datetime as dt

from ueba.portal import ENDED, LOOKED, Row, event_of, merge

AT = dt.datetime(2026, 3, 2, 2, tzinfo=dt.UTC)
LOOK_ID = "S0a1-" + "0" * 32
LOOK = {
    "look_id": LOOK_ID,
    "staff": "li.na",
    "subject": "loan",
    "customer_id": "C" + "0" * 24,
    "fields": ["name", "phone"],
    "clear": True,
    "purpose": "collection",
    "case_id": "WO-17",
    "site": "idc",
    "terminal": "desk-4",
    "at": AT.isoformat(),
}


def token(customer):
    return f"t-{len(customer)}"


def test_a_look_is_an_event_with_its_dwell_whichever_comes_first():
    rows = [Row(ENDED, LOOK_ID, AT, {"look_id": LOOK_ID, "dwell_ms": 4200}), Row(LOOKED, LOOK_ID, AT, LOOK),
            Row("loan.drawn", "L1", AT, {})]  # fmt: skip
    for order in (rows, rows[::-1]):
        (event,) = merge(order, token)
        assert (event.event_id, event.staff, event.action, event.dwell_ms) == (
            LOOK_ID,
            "li.na",
            "unmask",
            4200,
        )
        assert (event.fields, event.case_id, event.result) == (("name", "phone"), "WO-17", "ok")
        assert LOOK["customer_id"] not in event.model_dump_json()


def test_trying_ids_out_is_behaviour_too():
    event = event_of(
        Row(LOOKED, LOOK_ID, AT, LOOK | {"customer_id": None, "fields": [], "clear": False}), token
    )
    assert (event.action, event.customer, event.result) == ("view", None, "not_found")
