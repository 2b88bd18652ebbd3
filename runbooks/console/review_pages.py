"""Reviews of staff behaviour and approvals by a second person: the portal's own routes, with pages."""

import datetime as dt
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from core_app.business_calendar import SHANGHAI
from core_app.staff.reviews import ALLOWED_DAYS
from runbooks.console.entrance import Person
from runbooks.console.frame import call_core, posted, show_page, signed_in

MOST_CASES = 200
"""Cases asked for. Source: our choice, some weeks of a queue of ten a day."""
LEVELS = (20, 40, 70, 90)
"""Scores at which low, moderate, high and critical begin. Source: ueba.calibrate, which sets them."""
_CASE = re.compile(r"W-[0-9a-f]{32}")
_APPROVAL = re.compile(r"[0-9a-f]{32}")
_CASES = "/v1/staff/cases"
_REQUESTS = {
    "request.name": re.compile(r"/v1/staff/cases/[^/]+/unmaskings"),
    "request.clear": re.compile(r"/v1/staff/customers/[^/]+/unmaskings"),
    "request.export": re.compile(r"/v1/staff/exports"),
    "request.account": re.compile(r"/v1/staff/accounts/.+"),
    "request.drill": re.compile(r"biyi drill run .+"),
}
"""What dangerous requests are about, by their path."""


async def show_reviews(request: Request, person: Person) -> Response:
    """Show who is to be looked at, the riskiest first, and how reviews fall on roles and branches."""
    found = (await call_core(request, "GET", f"{_CASES}?limit={MOST_CASES}"))["cases"]
    burden = (await call_core(request, "GET", "/v1/staff/case-burden"))["burden"]
    open_ones = sorted((one for one in found if one["state"] != "closed"), key=lambda one: -one["score"])
    closed = [one for one in found if one["state"] == "closed"]
    watched = await call_core(request, "GET", "/v1/staff/watch-list")
    return show_page(
        request, "reviews.html", person=person, waiting=open_ones, closed=closed, burden=burden,
        watched=watched,
    )  # fmt: skip


async def show_case(request: Request, person: Person) -> Response:
    """Show one person's days, reasons and accesses, and what was decided."""
    return await _show_case(request, person)


async def _show_case(request: Request, person: Person, **more: Any) -> Response:
    case_id = _case_id(request)
    case = await call_core(request, "GET", f"{_CASES}/{case_id}")
    line = await call_core(request, "GET", f"{_CASES}/{case_id}/timeline")
    asked = await _find_asked(request, person, case_id)
    last = dt.date.fromisoformat(case["day"]) + dt.timedelta(days=ALLOWED_DAYS)
    known = {
        "case": case, "timeline": line, "points": json.dumps(find_points(case, line["cases"])),
        "dwells": json.dumps(find_dwells(line["events"])), "asked": asked, "key": secrets.token_hex(16),
        "families": find_families(case["document"]), "last_day": last.isoformat(), "named": None,
    }  # fmt: skip
    return show_page(request, "case.html", person=person, **(known | more))


def find_points(case: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the chart of scores draws, oldest first: days, scores and where the levels begin.

    Every day's score where the case was published with them, else those of the days in the queue.
    """
    scores = {one["day"]: one["score"] for one in case["document"].get("scores", ())}
    scores |= {one["day"]: one["score"] for one in cases}
    days = sorted(scores)
    return {"names": days, "values": [scores[day] for day in days], "levels": LEVELS}


def find_dwells(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the chart of accesses draws: for each hour of the Beijing day, how many and how long.

    >>> found = find_dwells([{"at": "2026-04-30T01:02:03+00:00", "dwell_ms": 9000}])
    >>> found["counts"][9], found["seconds"][9]
    (1, 9.0)
    """
    counts, seconds = [0] * 24, [0.0] * 24
    for one in events:
        hour = dt.datetime.fromisoformat(one["at"]).astimezone(SHANGHAI).hour
        counts[hour] += 1
        seconds[hour] += one.get("dwell_ms", 0) / 1000
    return {"names": [f"{hour:02}" for hour in range(24)], "counts": counts, "seconds": seconds}


def find_families(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the kinds of behaviour that a case's reasons name, in their order, in Chinese and English."""
    reasons = [*document.get("today", ()), *document.get("accumulated", ())]
    return {one["family"]: (one["text_zh"], one["text"]) for one in reasons if "family" in one}


def find_request(path: str) -> str:
    """Return the key of the words for what a request asks for; "request.other" for one without words.

    >>> find_request("/v1/staff/cases/W-0f/unmaskings"), find_request("biyi drill run site-loss")
    ('request.name', 'request.drill')
    """
    return next((key for key, pattern in _REQUESTS.items() if pattern.fullmatch(path)), "request.other")


async def _find_asked(request: Request, person: Person, case_id: str) -> dict[str, Any] | None:
    """Return the newest approval that this person asked for to learn the case's name."""
    rows = (await call_core(request, "GET", "/v1/staff/approvals?limit=200"))["approvals"]
    path = f"{_CASES}/{case_id}/unmaskings"
    mine = (one for one in rows if one["asked_by"] == person.staff and one["shown"].get("path") == path)
    return next(mine, None)


async def post_act(request: Request, _person: Person, fields: Mapping[str, str]) -> Response:
    """Take one step of a review."""
    case_id = _case_id(request)
    body = {"kind": fields.get("kind", "")}
    if body["kind"] == "propose":
        body |= {name: fields[name] for name in ("disposition", "family", "until") if fields.get(name)}
        if body.get("disposition") != "explained":
            body = {name: value for name, value in body.items() if name not in ("family", "until")}
    if comment := fields.get("comment", "").strip():
        body["comment"] = comment
    await call_core(request, "POST", f"{_CASES}/{case_id}/acts", body, key=_key(fields))
    return RedirectResponse(f"/reviews/cases/{case_id}", 303)


async def post_ask_name(request: Request, _person: Person, _fields: Mapping[str, str]) -> Response:
    """Ask a second person whether one may learn whose behaviour it is."""
    case_id = _case_id(request)
    body = {"method": "POST", "path": f"{_CASES}/{case_id}/unmaskings", "body": {}}
    await call_core(request, "POST", "/v1/staff/approvals", body)
    return RedirectResponse(f"/reviews/cases/{case_id}", 303)


async def post_name(request: Request, person: Person, fields: Mapping[str, str]) -> Response:
    """Show whose behaviour it is, as approved; only in this answer."""
    case_id, approval = _case_id(request), fields.get("approval", "")
    if not _APPROVAL.fullmatch(approval):
        raise HTTPException(404)
    path = f"{_CASES}/{case_id}/unmaskings"
    found = await call_core(request, "POST", path, {}, approval=approval, key=_key(fields))
    return await _show_case(request, person, named=found["staff"])


async def show_approvals(request: Request, person: Person) -> Response:
    """Show what waits for a second person, and what became of the rest."""
    rows = (await call_core(request, "GET", "/v1/staff/approvals?limit=100"))["approvals"]
    waiting = [one for one in rows if one["state"] == "open"]
    past = [one for one in rows if one["state"] != "open"]
    return show_page(
        request, "approvals.html", person=person, waiting=waiting, past=past, find_request=find_request
    )


async def post_decision(request: Request, _person: Person, fields: Mapping[str, str]) -> Response:
    """Approve or refuse, once."""
    approval = request.path_params["approval"]
    if not _APPROVAL.fullmatch(approval):
        raise HTTPException(404)
    body = {"granted": fields.get("decision") == "approve"}
    await call_core(request, "POST", f"/v1/staff/approvals/{approval}/decision", body)
    return RedirectResponse("/approvals", 303)


def _case_id(request: Request) -> str:
    found: str = request.path_params["case"]
    if not _CASE.fullmatch(found):
        raise HTTPException(404)
    return found


def _key(fields: Mapping[str, str]) -> str:
    """Return the form's idempotency key: what is sent twice is done once."""
    found = fields.get("key", "")
    return found if re.fullmatch(r"[0-9a-f]{32}", found) else secrets.token_hex(16)


ROUTES = [
    Route("/reviews", signed_in(show_reviews)),
    Route("/reviews/cases/{case}", signed_in(show_case)),
    Route("/reviews/cases/{case}/acts", posted(post_act), methods=["POST"]),
    Route("/reviews/cases/{case}/name-requests", posted(post_ask_name), methods=["POST"]),
    Route("/reviews/cases/{case}/name", posted(post_name), methods=["POST"]),
    Route("/approvals", signed_in(show_approvals)),
    Route("/approvals/{approval}", posted(post_decision), methods=["POST"]),
]
