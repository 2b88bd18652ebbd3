"""Two people for one request: somebody asks for it, another approves it, the first then does it, once.

An approval is of one request, to the letter: its route, path and body. It names the role that decides, runs
out, and is bound to the idempotency key it is used with: a repeat after a lost answer is no second use.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from compliance.access.desk import Connection, Desk, Row, Session, fetch, fetch_all
from compliance.access.errors import AccessRefused, Why
from compliance.access.roles import Role

_SHOWN = """
approval_id, route, shown, needs, asked_by, asked_at, expires_at, decided_by, decided_at, granted, used_at,
case when used_at is not null then 'used' when granted then 'granted' when granted is not null then 'refused'
    when expires_at < now() then 'expired' else 'open' end as state
"""
_ASK = f"""
insert into access.approvals (approval_id, route, request_digest, shown, about, needs, asked_by, expires_at)
values (%(id)s, %(route)s, %(digest)s, %(shown)s, %(about)s, %(needs)s, %(staff)s,
        now() + make_interval(mins => %(minutes)s))
returning {_SHOWN}
"""  # noqa: S608 - our own column list
_LOCK = "select *, expires_at < now() as expired from access.approvals where approval_id = %(id)s for update"
_DECIDE = f"""
update access.approvals set decided_by = %(staff)s, decided_at = now(), granted = %(granted)s
where approval_id = %(id)s returning {_SHOWN}
"""  # noqa: S608
_USE = "update access.approvals set used_at = now(), used_key = %(key)s where approval_id = %(id)s"
_LIST = f"""
select {_SHOWN} from access.approvals
where not %(open)s or (decided_at is null and expires_at > now()) order by asked_at desc limit %(limit)s
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to the letter. `about`: the account it is about, if any."""

    route: str
    path: str
    body: Mapping[str, Any]
    about: str | None = None

    def canonical(self) -> bytes:
        """Return the bytes that an approval is of; equal requests have equal ones however spelled."""
        parts = [self.route, self.path, self.body]
        return json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()


async def ask_approval(desk: Desk, by: Session, asked: Asked, needs: Role) -> Row:
    """Ask that somebody who is `needs` approves a request; returns the approval, open."""
    approval_id = desk.new_uuid().hex
    values = {
        "id": approval_id,
        "route": asked.route,
        "digest": _digest(desk, asked),
        "shown": Jsonb({"path": asked.path, "body": asked.body}),
        "about": asked.about,
        "needs": str(needs),
        "staff": by.staff,
        "minutes": desk.limits.approval_minutes,
    }

    async def work(connection: Connection) -> Row:
        row = await fetch(connection, _ASK, values)
        await _tell(desk, connection, by, "ask_approval", approval_id)
        return row or {}

    return await desk.directory.write(work)


async def decide_approval(desk: Desk, by: Session, approval_id: str, *, granted: bool) -> Row:
    """Approve or refuse, once. FORBIDDEN to who asked, to who it is about, and to who lacks the role."""

    async def work(connection: Connection) -> Row:
        row = await fetch(connection, _LOCK, {"id": approval_id})
        if row is None:
            raise AccessRefused(Why.NOT_FOUND, "There is no such approval.")
        if by.staff in (row["asked_by"], row["about"]):
            raise AccessRefused(Why.FORBIDDEN, "Somebody else has to decide: it takes two people.")
        if row["needs"] not in by.roles:
            raise AccessRefused(Why.FORBIDDEN, f"A {row['needs']} has to decide.")
        if row["decided_at"] is not None or row["expired"]:
            raise AccessRefused(Why.CONFLICT, "It was decided before, or ran out.")
        values = {"id": approval_id, "staff": by.staff, "granted": granted}
        decided = await fetch(connection, _DECIDE, values)
        await _tell(desk, connection, by, "approve" if granted else "refuse_approval", approval_id)
        return decided or {}

    return await desk.directory.write(work)


async def use_approval(desk: Desk, by: Session, approval_id: str, asked: Asked, key: str) -> None:
    """Use an approval for exactly this request; FORBIDDEN without saying which part differs.

    The same key may use it again: a repeat of the request it was used for.
    """
    digest = _digest(desk, asked)

    async def work(connection: Connection) -> None:
        row = await fetch(connection, _LOCK, {"id": approval_id})
        good = (
            row is not None
            and row["asked_by"] == by.staff
            and row["granted"] is True
            and bytes(row["request_digest"]) == digest
            and (row["used_key"] == key if row["used_at"] is not None else not row["expired"])
        )
        if not good or row is None:
            raise AccessRefused(
                Why.FORBIDDEN,
                "No such approval of yours for this request: not granted, run out, used, or of another.",
            )
        if row["used_at"] is None:
            await connection.execute(_USE, {"id": approval_id, "key": key})
            await _tell(desk, connection, by, "use_approval", approval_id)

    await desk.directory.write(work)


async def list_approvals(desk: Desk, *, only_open: bool, limit: int) -> Sequence[Row]:
    """Return approvals, the newest first."""
    return await desk.directory.write(lambda c: fetch_all(c, _LIST, {"open": only_open, "limit": limit}))


def _digest(desk: Desk, asked: Asked) -> bytes:
    return desk.digest(b"approval|" + asked.canonical())


async def _tell(desk: Desk, connection: Connection, by: Session, action: str, approval_id: str) -> None:
    event = {
        "event_id": desk.new_uuid().hex,
        "staff": by.staff,
        "branch": by.branch,
        "role": "+".join(by.roles),
        "action": action,
        "case_id": approval_id,
        "terminal": by.origin.terminal,
        "site": desk.site,
    }
    await desk.directory.tell(connection, "staff.approval", event)
