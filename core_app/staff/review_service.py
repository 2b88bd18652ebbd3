"""Reviews of staff behaviour in the first cell: published cases, acts of reviewers, and who somebody is.

Everything is read and written as biyi_staff in one transaction; each act is told in the same one, so it is in
the audit chain. The database itself refuses a confirmation by the proposer (migration 040).
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compliance.access.desk import Connection, Row, Session, fetch, fetch_all
from compliance.access.errors import AccessRefused, Why
from core_app.staff.portal import Portal
from core_app.staff.pseudonyms import find_named, staff_namer
from core_app.staff.reviews import Act, Case, check_act, find_case

FINDINGS = ("malicious", "policy_breach")
_CASES = "select case_id, day, subject, place, why, score, level, fresh, slow from watch.cases"
_ACTS = "select * from watch.acts where case_id = any(%(ids)s) order by case_id, number"
_LIST = f"{_CASES} where %(day)s::date is null or day = %(day)s order by day desc, place limit %(limit)s"
_OF_SUBJECT = f"{_CASES} where subject = %(subject)s order by day desc limit 100"
_ONE = "select * from watch.cases where case_id = %(id)s"
_TURN = "select pg_advisory_xact_lock(hashtextextended(%(id)s, 40))"
_EARLIER = "select case_id, number, request_digest from watch.acts where idempotency_key = %(key)s"
_ADD = """
insert into watch.acts (act_id, case_id, number, kind, done_by, disposition, family, until_day, approval,
    idempotency_key, request_digest, comment)
values (%(act_id)s, %(case_id)s, %(number)s, %(kind)s, %(by)s, %(disposition)s, %(family)s, %(until)s,
    %(approval)s, %(key)s, %(digest)s, %(comment)s)
"""
_DECIDER = "select decided_by from access.approvals where approval_id = %(id)s"
_NAMES = "select staff from access.accounts"
_BURDEN = """
with closed as (
    select a.case_id, (select p.disposition from watch.acts p where p.case_id = a.case_id
        and p.kind = 'propose' order by p.number desc limit 1) as disposition
    from watch.acts a where a.kind = 'confirm'
)
select c.document ->> 'role' as role, c.document ->> 'branch' as branch, count(*)::int as cases,
    count(distinct c.subject)::int as subjects, count(closed.case_id)::int as closed,
    count(*) filter (where closed.disposition <> all(%(findings)s))::int as without_finding
from watch.cases c left join closed using (case_id)
where c.day > (select max(day) from watch.publications) - %(days)s::int
group by 1, 2 order by without_finding desc, 1, 2
"""


_WATCHED = "select day, card -> 'watched' as watched from watch.publications order by day desc limit 1"


@dataclass(frozen=True, slots=True)
class Step:
    """What a reviewer wants to do to a case; `key` is chosen by the client, new for each act."""

    case_id: str
    kind: str
    key: str
    disposition: str | None = None
    family: str | None = None
    until: dt.date | None = None
    comment: str | None = None

    def canonical(self) -> bytes:
        """Return the bytes by which a repeat is known."""
        parts = [self.case_id, self.kind, self.disposition, self.family, str(self.until)]
        parts += [] if self.comment is None else [self.comment]
        return json.dumps(["review", *parts]).encode()


async def list_published(portal: Portal, day: dt.date | None, limit: int) -> list[dict[str, Any]]:
    """Return cases, the newest day first, with where their review stands."""

    async def work(connection: Connection) -> list[dict[str, Any]]:
        return await _with_states(
            connection, await fetch_all(connection, _LIST, {"day": day, "limit": limit})
        )

    return await portal.desk.directory.write(work)


async def show_case(portal: Portal, case_id: str) -> dict[str, Any]:
    """Return a case with its document and acts; NOT_FOUND when there is none."""

    async def work(connection: Connection) -> dict[str, Any]:
        return _detail(*await _read(connection, case_id))

    return await portal.desk.directory.write(work)


async def show_timeline(portal: Portal, case_id: str) -> dict[str, Any]:
    """Return the subject's cases and the case's day in events; NOT_FOUND when there is no such case."""

    async def work(connection: Connection) -> dict[str, Any]:
        row, _ = await _read(connection, case_id)
        cases = await fetch_all(connection, _OF_SUBJECT, {"subject": row["subject"]})
        document = row["document"]
        return {
            "subject": row["subject"],
            "cases": await _with_states(connection, cases),
            "events": document.get("events", []),
            "events_left_out": document.get("events_left_out", 0),
        }

    return await portal.desk.directory.write(work)


async def act(portal: Portal, by: Session, step: Step) -> dict[str, Any]:
    """Take a step and return the case. The same key again answers as the case stands; another step under it
    is a CONFLICT. FORBIDDEN to whom the case is about and where it takes another person."""

    async def work(connection: Connection) -> dict[str, Any]:
        row, acts = await _begin(portal, connection, by.staff, step.case_id)
        if not await _is_repeat(portal, connection, step):
            await _add(portal, connection, _Adding(row, acts, by.staff, step))
            row, acts = await _read(connection, step.case_id)
        return _detail(row, acts)

    return await portal.desk.directory.write(work)


async def unmask(portal: Portal, by: Session, case_id: str, approval: str, key: str) -> dict[str, Any]:
    """Say whose token a case's subject is: asked by `by`, granted by who decided `approval`; both noted."""

    async def work(connection: Connection) -> dict[str, Any]:
        row, acts = await _begin(portal, connection, by.staff, case_id)
        decider = ((await fetch(connection, _DECIDER, {"id": approval})) or {})["decided_by"]
        _check_not_subject(portal, decider, row["subject"])
        asking = Step(case_id, "ask_unmask", key)
        if not await _is_repeat(portal, connection, asking):
            await _add(portal, connection, _Adding(row, acts, by.staff, asking, approval))
            row, acts = await _read(connection, case_id)
            granting = Step(case_id, "approve_unmask", f"{key}.granted")
            await _add(portal, connection, _Adding(row, acts, decider, granting, approval))
        names = [found["staff"] for found in await fetch_all(connection, _NAMES, {})]
        staff = find_named(row["subject"], names, staff_namer(portal.desk.digest))
        if staff is None:
            raise AccessRefused(Why.NOT_FOUND, "The subject is nobody with an account here.")
        return {"subject": row["subject"], "staff": staff, "asked_by": by.staff, "approved_by": decider}

    return await portal.desk.directory.write(work)


async def show_burden(portal: Portal, days: int) -> Sequence[Row]:
    """Return how the cases of the last days fall on roles and branches."""
    values = {"days": days, "findings": list(FINDINGS)}
    return await portal.desk.directory.write(lambda c: fetch_all(c, _BURDEN, values))


async def show_watched(portal: Portal) -> dict[str, Any]:
    """Return who stood on a watch list on the newest published day, and since when; tokens, as everywhere."""
    row = await portal.desk.directory.write(lambda c: fetch(c, _WATCHED, {}))
    found: Mapping[str, str] = (row["watched"] if row else None) or {}
    return {
        "day": row["day"].isoformat() if row else None,
        "watched": [{"subject": name, "since": since} for name, since in found.items()],
    }


async def _begin(portal: Portal, connection: Connection, by: str, case_id: str) -> tuple[Row, list[Row]]:
    """Take the case's turn and read it; FORBIDDEN to whom it is about."""
    await connection.execute(_TURN, {"id": case_id})
    row, acts = await _read(connection, case_id)
    _check_not_subject(portal, by, row["subject"])
    return row, acts


def _check_not_subject(portal: Portal, staff: str, subject: str) -> None:
    if staff_namer(portal.desk.digest)(staff) == subject:
        raise AccessRefused(Why.FORBIDDEN, "Nobody reviews himself, nor grants the sight of his own name.")


async def _is_repeat(portal: Portal, connection: Connection, step: Step) -> bool:
    earlier = await fetch(connection, _EARLIER, {"key": step.key})
    if earlier is not None and bytes(earlier["request_digest"]) != portal.desk.digest(step.canonical()):
        raise AccessRefused(Why.CONFLICT, "The Idempotency-Key was used for another act.")
    return earlier is not None


@dataclass(frozen=True, slots=True)
class _Adding:
    """A step of somebody to a case as it stands."""

    row: Row
    acts: list[Row]
    by: str
    step: Step
    approval: str | None = None


async def _add(portal: Portal, connection: Connection, adding: _Adding) -> None:
    row, acts, by, step = adding.row, adding.acts, adding.by, adding.step
    wanted = Act.model_validate(
        {
            "kind": step.kind, "by": by, "staff": row["subject"], "on": row["day"],
            "disposition": step.disposition, "family": step.family, "until": step.until,
        }
    )  # fmt: skip
    if wanted.kind != "propose" and (wanted.disposition or wanted.family or wanted.until):
        raise AccessRefused(Why.INVALID, "Only a proposal names a disposition.", "body.disposition")
    _refuse(check_act([_act_of(row, one) for one in acts], wanted))
    values = {
        "act_id": portal.desk.new_uuid().hex, "case_id": step.case_id, "number": len(acts) + 1,
        "kind": step.kind, "by": by, "disposition": step.disposition, "family": step.family,
        "until": step.until, "approval": adding.approval, "key": step.key,
        "digest": portal.desk.digest(step.canonical()), "comment": step.comment,
    }  # fmt: skip
    await connection.execute(_ADD, values)


def _refuse(reason: str) -> None:
    """AccessRefused in the words of the rule that an act would break; nothing when there is none."""
    where, _, why = reason.partition(": ")
    if not reason:
        return
    if where == "by":
        raise AccessRefused(Why.FORBIDDEN, f"It takes two people: {why}.")
    if where in ("family, until", "until") or why == "missing":
        raise AccessRefused(Why.INVALID, f"{why}", f"body.{where.split(',')[0]}")
    raise AccessRefused(Why.CONFLICT, f"{why}.")


async def _read(connection: Connection, case_id: str) -> tuple[Row, list[Row]]:
    row = await fetch(connection, _ONE, {"id": case_id})
    if row is None:
        raise AccessRefused(Why.NOT_FOUND, "There is no such case.")
    return row, await fetch_all(connection, _ACTS, {"ids": [case_id]})


async def _with_states(connection: Connection, rows: Sequence[Row]) -> list[dict[str, Any]]:
    acts: dict[str, list[Row]] = {}
    for one in await fetch_all(connection, _ACTS, {"ids": [row["case_id"] for row in rows]}):
        acts.setdefault(one["case_id"], []).append(one)
    return [_summary(row, _case_of(row, acts.get(row["case_id"], []))) for row in rows]


def _act_of(row: Row, one: Row) -> Act:
    return Act(
        kind=one["kind"], by=one["done_by"], staff=row["subject"], on=row["day"],
        disposition=one["disposition"], family=one["family"], until=one["until_day"],
        fresh=row["fresh"], slow=row["slow"],
    )  # fmt: skip


def _case_of(row: Row, acts: Sequence[Row]) -> Case | None:
    return find_case([_act_of(row, one) for one in acts], row["subject"], row["day"])


def _summary(row: Row, case: Case | None) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("case_id", "subject", "place", "why", "level")},
        "day": row["day"].isoformat(),
        "score": float(row["score"]),
        "state": "waiting" if case is None else "open" if case.open else "closed",
        "disposition": case.disposition if case else None,
        "proposed_by": case.proposed_by if case else None,
        "confirmed_by": case.confirmed_by if case else None,
    }


def _detail(row: Row, acts: Sequence[Row]) -> dict[str, Any]:
    case = _case_of(row, acts)
    shown: list[Mapping[str, Any]] = [
        {
            "number": one["number"], "kind": one["kind"], "done_by": one["done_by"], "at": one["at"],
            "disposition": one["disposition"], "family": one["family"],
            "until": one["until_day"].isoformat() if one["until_day"] else None, "comment": one["comment"],
        }
        for one in acts
    ]  # fmt: skip
    unmasked = list(case.unmasked_by) if case else []
    return _summary(row, case) | {"unmasked_by": unmasked, "acts": shown, "document": row["document"]}
