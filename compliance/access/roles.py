"""Roles of staff, and which of them exclude each other. Pure.

Three administrators (三权分立, GB/T 22239-2019 8.1.5.1 to 8.1.5.3): system runs accounts, security approves
rights, audit reads the records. Whoever is one of them is nothing else.
"""

import enum
from collections.abc import Collection, Iterable


class Role(enum.StrEnum):
    """What somebody works as; several at once, but for administrators."""

    SYSTEM_ADMIN = "system_admin"
    SECURITY_ADMIN = "security_admin"
    AUDIT_ADMIN = "audit_admin"
    SERVICE = "service"
    CREDIT = "credit"
    COLLECTION = "collection"
    OPERATIONS = "operations"
    SUPERVISOR = "supervisor"


ADMINISTRATORS = frozenset({Role.SYSTEM_ADMIN, Role.SECURITY_ADMIN, Role.AUDIT_ADMIN})
BUSINESS = frozenset(Role) - ADMINISTRATORS


class Party(enum.StrEnum):
    """Callers that are no staff: anyone at all, a channel (an app's backend, a partner), a customer."""

    ANYONE = "anyone"
    CHANNEL = "channel"
    CUSTOMER = "customer"


def find_role_fault(roles: Collection[Role]) -> str | None:
    """Return what is wrong with a set of roles held by one person, or None."""
    administrators = ADMINISTRATORS.intersection(roles)
    if administrators and len(set(roles)) > 1:
        return (
            "an administrator with another role; system, security and audit administrators exclude all else"
        )
    return None


def needs_second_factor(roles: Iterable[Role]) -> bool:
    """Say whether one of `roles` logs in with a second factor (GB/T 22239-2019 8.1.4.1 d)."""
    return not ADMINISTRATORS.isdisjoint(roles)
