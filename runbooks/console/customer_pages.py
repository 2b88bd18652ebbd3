"""The staff portal for customers: search, masked view, clear values for a purpose, how long they were shown.

Each look is recorded by the core in the transaction that reads; the page tells how long it was on the screen.
What is looked for and what is found stands in no address and no redirect: an answer to a form is the page.
"""

import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from compliance.access.roles import Role
from core_app.staff.looks import CLEAR_PURPOSES, PERSONAL, PURPOSES
from runbooks.console.entrance import Person
from runbooks.console.frame import CoreRefused, call_core, posted, show_page, signed_in

_LOOKS = {"customer": "customers", "loan": "loans", "application": "applications"}
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_LOOK = re.compile(r"[A-Za-z0-9]{2,8}-[0-9a-f]{32}")
_APPROVAL = re.compile(r"[0-9a-f]{32}")
_FORBIDDEN = 403


def _purposes(person: Person) -> dict[str, list[str]]:
    """Return what this person may look for, and which of it may show clear values."""
    own = {purpose for role in person.roles for purpose in PURPOSES[Role(role)]}
    return {"purposes": sorted(map(str, own)), "clear_purposes": sorted(map(str, own & CLEAR_PURPOSES))}


async def show_customers(request: Request, person: Person) -> Response:
    """Show the forms to look for somebody with."""
    return _page(request, person)


def _page(request: Request, person: Person, status: int = 200, **more: Any) -> Response:
    known: dict[str, Any] = {
        "rows": None, "look": None, "wanted": {}, "refused": "", "limited": False, "asked": "",
        **_purposes(person),
    }  # fmt: skip
    return show_page(request, "customers.html", status, person=person, **(known | more))


async def post_search(request: Request, person: Person, fields: Mapping[str, str]) -> Response:
    """Show who has this phone or ID number, masked strictly."""
    body = _why(fields) | {"by": fields.get("by", ""), "value": fields.get("value", "").strip()}
    return await _answer(request, person, "/v1/staff/searches", body, kept={"by": body["by"]})


async def post_assigned(request: Request, person: Person, fields: Mapping[str, str]) -> Response:
    """Show one's own list, masked strictly."""
    return await _answer(request, person, "/v1/staff/assigned", _why(fields) | {"limit": 50}, kept={})


async def _answer(
    request: Request, person: Person, path: str, body: dict[str, Any], kept: Mapping[str, str]
) -> Response:
    """Show a page of people, or the form again with what the core refused; never the value looked for."""
    wanted = {**kept, "purpose": body["purpose"], "case_id": body.get("case_id", "")}
    try:
        found = await call_core(request, "POST", path, body)
    except CoreRefused as refused:
        if refused.status is None or refused.status == 401 or refused.status >= 500:
            raise
        return _page(request, person, refused.status, refused=refused.detail, wanted=wanted)
    return _page(request, person, rows=found["rows"], wanted=wanted)


async def post_look(request: Request, person: Person, fields: Mapping[str, str]) -> Response:
    """Show a customer, a loan or an application with the customer's fields masked."""
    subject, subject_id = fields.get("subject", ""), fields.get("subject_id", "").strip()
    if subject not in _LOOKS:
        raise HTTPException(404)
    wanted = {"subject": subject, "subject_id": subject_id, **_why(fields)}
    if not _ID.fullmatch(subject_id):
        return _page(request, person, 404, refused="subject_id", wanted=wanted)
    return await _look(
        request, person, f"/v1/staff/{_LOOKS[subject]}/{subject_id}/looks", _why(fields), wanted
    )


async def post_clear(request: Request, person: Person, fields: Mapping[str, str]) -> Response:
    """Show the chosen fields in clear: a look of its own; beyond the day's share with an approval."""
    customer_id = fields.get("customer_id", "")
    if not _ID.fullmatch(customer_id):
        raise HTTPException(404)
    chosen = [name for name in PERSONAL if fields.get(f"field_{name}")]
    body = _why(fields) | {"fields": chosen}
    approval = fields.get("approval", "").strip()
    how = {"approval": approval} if _APPROVAL.fullmatch(approval) else {}
    wanted = {"subject": "customer", "subject_id": customer_id, **body, "approval": approval}
    path = f"/v1/staff/customers/{customer_id}/unmaskings"
    return await _look(request, person, path, body, wanted, **how)


async def _look(
    request: Request, person: Person, path: str, body: object, wanted: Mapping[str, Any], **how: str
) -> Response:
    try:
        look = await call_core(request, "POST", path, body, **how)
    except CoreRefused as refused:
        if refused.status is None or refused.status == 401 or refused.status >= 500:
            raise
        limited = refused.status == _FORBIDDEN and path.endswith("/unmaskings")
        return _page(request, person, refused.status, refused=refused.detail, wanted=wanted, limited=limited)
    return _page(request, person, look=look, wanted=wanted)


async def post_ask_clear(request: Request, person: Person, fields: Mapping[str, str]) -> Response:
    """Ask a supervisor for one more clear look, to the letter."""
    customer_id = fields.get("customer_id", "")
    if not _ID.fullmatch(customer_id):
        raise HTTPException(404)
    chosen = [name for name in PERSONAL if fields.get(f"field_{name}")]
    body = _why(fields) | {"fields": chosen}
    path = f"/v1/staff/customers/{customer_id}/unmaskings"
    asked = {"method": "POST", "path": path, "body": body}
    row = await call_core(request, "POST", "/v1/staff/approvals", asked)
    wanted = {"subject": "customer", "subject_id": customer_id, **body, "approval": row["approval_id"]}
    return _page(request, person, wanted=wanted, asked=row["approval_id"])


async def post_beat(request: Request, _person: Person, fields: Mapping[str, str]) -> Response:
    """Note how long looks have been on the screen so far; sent by the page itself."""
    looks, dwell_ms = _shown(fields)
    await call_core(request, "POST", "/v1/staff/heartbeats", {"look_ids": looks, "dwell_ms": dwell_ms})
    return Response(status_code=204)


async def post_end(request: Request, _person: Person, fields: Mapping[str, str]) -> Response:
    """Note that looks have left the screen; the browser waits for no answer."""
    looks, dwell_ms = _shown(fields)
    for look in looks:
        await call_core(request, "POST", f"/v1/staff/looks/{look}/end", {"dwell_ms": dwell_ms})
    return Response(status_code=204)


def _shown(fields: Mapping[str, str]) -> tuple[list[str], int]:
    looks, dwell = fields.get("looks", "").split(","), fields.get("dwell_ms", "")
    if not all(map(_LOOK.fullmatch, looks)) or not dwell.isdecimal():
        raise HTTPException(404)
    return looks, min(int(dwell), 86_400_000)


def _why(fields: Mapping[str, str]) -> dict[str, Any]:
    case_id = fields.get("case_id", "").strip()
    return {"purpose": fields.get("purpose", "")} | ({"case_id": case_id} if case_id else {})


async def to_forms(_request: Request, _person: Person) -> Response:
    """Lead back to the forms who loads an answer's address anew."""
    return RedirectResponse("/customers", 303)


_POSTED = {
    "search": post_search, "assigned": post_assigned, "look": post_look, "clear": post_clear,
    "clear-requests": post_ask_clear,
}  # fmt: skip
ROUTES = [
    Route("/customers", signed_in(show_customers)),
    *(Route(f"/customers/{name}", posted(take), methods=["POST"]) for name, take in _POSTED.items()),
    *(Route(f"/customers/{name}", signed_in(to_forms), methods=["GET"]) for name in _POSTED),
    Route("/customers/beats", posted(post_beat, uses=False), methods=["POST"]),
    Route("/customers/ends", posted(post_end, uses=False), methods=["POST"]),
]
