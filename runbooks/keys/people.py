"""Holders of key operations are people with accounts: who they are, and what they did, stands with access.

A holder's SM2 key proves that the key was used; the account says whose it is, and that it is still a member
of staff who may. An account that was disabled, locked or moved to other work approves nothing from the next
operation on, whatever keys its owner kept.
"""

from collections.abc import Iterable, Set

from cryptography.hazmat.primitives import hashes
from psycopg.types.json import Jsonb

from compliance.access.roles import Role
from compliance.protection.approvals import Operation, Request
from compliance.protection.errors import ApprovalRefused
from runbooks.keys.cells import Connection

MAY_HOLD = (Role.SECURITY_ADMIN, Role.SYSTEM_ADMIN)
"""Roles that may approve a key operation. Source: our choice; the auditor looks at it afterwards."""
_PEOPLE = """
select staff, roles, disabled or coalesce(locked_until > now(), false) from access.accounts
where staff = any(%s::text[])
"""
# By the request's digest: carried out again after it was cut off, it is written down once.
_NOTE = """
with noted as (
    insert into access.changes (change_id, staff, what, detail, done_by)
    values (%(id)s, %(first)s, 'key_operation', %(detail)s, %(by)s)
    on conflict (change_id) do nothing returning change_id
)
insert into core.outbox (topic, key, payload, idempotency_key)
select 'keys.operation', change_id, %(event)s, change_id from noted
"""


def named_holders(request: Request, approved_by: Iterable[str], holders: Set[str]) -> set[str]:
    """Return whose accounts an operation needs: those who approve it, and those it makes holders."""
    made = set(request.about) if request.operation is Operation.HOLDERS else set()
    return {name for name in approved_by if name in holders} | made


async def check_people(connection: Connection, names: Iterable[str]) -> None:
    """ApprovalRefused unless each name is an open account with one of the roles in `MAY_HOLD`."""
    wanted = sorted(names)
    rows = await connection.execute(_PEOPLE, [wanted])
    found = {staff: (frozenset(roles), shut) for staff, roles, shut in await rows.fetchall()}
    for name in wanted:
        roles, shut = found.get(name, (frozenset(), False))
        if name not in found:
            raise ApprovalRefused(f"holder {name}: no account of this name; `biyi staff add`, then a role")
        if shut:
            raise ApprovalRefused(f"holder {name}: the account is disabled or locked; another holder has to")
        if not roles & {str(role) for role in MAY_HOLD}:
            raise ApprovalRefused(
                f"holder {name}: has {', '.join(sorted(roles)) or 'no role'}, needs {' or '.join(MAY_HOLD)}"
            )


async def note_operation(connection: Connection, request: Request, names: Iterable[str]) -> None:
    """Write an operation down among the acts on accounts, and into the audit, once."""
    digest = hashes.Hash(hashes.SM3())
    digest.update(request.text())
    by = sorted(names)
    change_id = digest.finalize().hex()[:32]
    detail = {"operation": str(request.operation), "about": dict(request.about), "approved_by": by}
    event = {"event_id": change_id, "staff": by[0], "action": "key_operation", "detail": detail}
    values = {"id": change_id, "first": by[0], "by": by[-1], "detail": Jsonb(detail), "event": Jsonb(event)}
    await connection.execute(_NOTE, values)
