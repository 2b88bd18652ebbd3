"""Two people for a dangerous drill: a system administrator asks, a security administrator approves, once.

A stand without administrators has nobody to ask; then the evidence says so. Approvals are those of
`compliance.access`, kept in the first cell and told to behaviour scoring. They bind the drill and what it is
about, not its load: another site needs another approval.
"""

import os
import uuid
from collections.abc import Mapping
from typing import Any

from compliance.access import accounts, approvals, signing_in
from compliance.access.approvals import Asked
from compliance.access.desk import Desk, Origin, Session
from compliance.access.errors import AccessRefused
from compliance.access.roles import Role
from core_app.api.guard import Allowed, check_session
from runbooks.drills.catalogue import Drill
from runbooks.lending_core import open_portal
from runbooks.staff import HERE, session_file

ASKER, APPROVER = Role.SYSTEM_ADMIN, Role.SECURITY_ADMIN
TOKEN_VARIABLE, ADDRESS_VARIABLE = "BIYI_STAFF_TOKEN", "BIYI_STAFF_ADDRESS"
"""Whoever starts a drill for somebody else (the console) hands over that person's session and its address."""
_MOST_LISTED = 500


class ApprovalNeeded(Exception):
    """Nobody has approved it yet: the approval that was asked for, or why it could not even be asked for."""

    def __init__(self, why: str, approval_id: str = "") -> None:
        super().__init__(why)
        self.approval_id = approval_id


def asked_for(drill: Drill, about: Mapping[str, Any]) -> Asked:
    """Return the request that an approval is of."""
    return Asked(f"RUN drill {drill.name}", f"biyi drill run {drill.name}", dict(about))


async def settle_approval(drill: Drill, about: Mapping[str, Any], approval_id: str | None) -> dict[str, str]:
    """Return who asked and who approved, for the evidence; ApprovalNeeded while nobody has.

    A drill that is not dangerous, or a stand without administrators, needs nobody.
    """
    if not drill.dangerous:
        return {"approved_by": "nobody: not a dangerous drill"}
    async with open_portal() as portal:
        if not {ASKER, APPROVER} <= await _roles_held(portal.desk):
            return {"approved_by": "nobody: this stand has no administrators"}
        asked = asked_for(drill, about)
        try:
            session = await read_session(portal.desk)
            if approval_id is None:
                row = await approvals.ask_approval(portal.desk, session, asked, APPROVER)
                number = str(row["approval_id"])
                raise ApprovalNeeded(
                    f"not begun: a {APPROVER} has to approve it: biyi staff approve {number}; then repeat "
                    f"this with --approval {number}",
                    number,
                )
            await approvals.use_approval(portal.desk, session, approval_id, asked, uuid.uuid4().hex)
        except AccessRefused as refusal:
            raise ApprovalNeeded(f"not begun: {refusal.detail}") from refusal
        rows = await approvals.list_approvals(portal.desk, only_open=False, limit=_MOST_LISTED)
        row = next(row for row in rows if row["approval_id"] == approval_id)
        return {
            "approval": approval_id,
            "asked_by": str(row["asked_by"]),
            "approved_by": str(row["decided_by"]),
        }


async def _roles_held(desk: Desk) -> set[Role]:
    rows = await accounts.list_accounts(desk)
    return {Role(role) for row in rows if not row["disabled"] for role in row["roles"]}


async def read_session(desk: Desk) -> Session:
    """Return who asks, if they may: whoever is logged in here, or whose session the caller handed over."""
    token, origin = os.environ.get(TOKEN_VARIABLE), Origin(os.environ.get(ADDRESS_VARIABLE), None)
    if not token:
        if not session_file().exists():
            raise ApprovalNeeded(
                f"not begun: it takes two people, and nobody is logged in: biyi staff login NAME ({ASKER})"
            )
        token, origin = session_file().read_text(encoding="utf-8").strip(), HERE
    session = await signing_in.authenticate(desk, token, origin)
    check_session(Allowed(frozenset({ASKER}), APPROVER), session)
    return session
