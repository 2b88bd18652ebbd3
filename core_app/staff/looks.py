"""What staff can look at, for which purposes, and which fields they are shown. Pure."""

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from compliance.access.roles import Role
from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_NAME, CUSTOMER_PHONE, Column

PERSONAL: dict[str, Column] = {
    column.name: column for column in (CUSTOMER_NAME, CUSTOMER_ID_NUMBER, CUSTOMER_PHONE)
}
"""Personal fields of every subject by their names: masked, unless the look is a clear one."""


class Subject(enum.StrEnum):
    """What is looked at; its personal data are those of its customer."""

    CUSTOMER = "customer"
    LOAN = "loan"
    APPLICATION = "application"


FACTS: dict[Subject, tuple[str, ...]] = {
    Subject.CUSTOMER: (),
    Subject.LOAN: ("contract_id", "product", "drawn_on", "principal_fen", "balance_fen"),
    Subject.APPLICATION: ("product", "amount_fen", "periods", "decision", "limit_fen", "decided_on"),
}
"""What else is shown of a subject."""


class Purpose(enum.StrEnum):
    """Why staff look. Source: our choice, one for each kind of work of the company that needs a customer's
    data (PIPL art. 6 wants a purpose that is definite; the list is to be confirmed by the data officer)."""

    CUSTOMER_REQUEST = "customer_request"
    APPLICATION_REVIEW = "application_review"
    LOAN_SERVICE = "loan_service"
    COLLECTION = "collection"
    COMPLAINT = "complaint"
    FRAUD_INVESTIGATION = "fraud_investigation"
    INTERNAL_AUDIT = "internal_audit"
    REGULATOR_REQUEST = "regulator_request"


CLEAR_PURPOSES = frozenset(
    {
        Purpose.CUSTOMER_REQUEST,
        Purpose.APPLICATION_REVIEW,
        Purpose.COLLECTION,
        Purpose.COMPLAINT,
        Purpose.FRAUD_INVESTIGATION,
        Purpose.REGULATOR_REQUEST,
    }
)
"""Purposes that clear values may serve: someone is called, identified or reported by them. Audit and loan
service work on masked values. Source: our choice (PIPL art. 6, least extent), to be confirmed likewise."""


PURPOSES: dict[Role, frozenset[Purpose]] = {
    Role.SERVICE: frozenset({Purpose.CUSTOMER_REQUEST, Purpose.LOAN_SERVICE, Purpose.COMPLAINT}),
    Role.CREDIT: frozenset({Purpose.APPLICATION_REVIEW, Purpose.FRAUD_INVESTIGATION}),
    Role.COLLECTION: frozenset({Purpose.COLLECTION}),
    Role.OPERATIONS: frozenset({Purpose.LOAN_SERVICE, Purpose.REGULATOR_REQUEST}),
    Role.SUPERVISOR: frozenset(Purpose) - {Purpose.INTERNAL_AUDIT},
    Role.AUDIT_ADMIN: frozenset({Purpose.INTERNAL_AUDIT}),
    Role.SYSTEM_ADMIN: frozenset(),
    Role.SECURITY_ADMIN: frozenset(),
}
"""What each role may look for. Source: our choice (PIPL art. 6; GB/T 22239-2019 8.1.4.2 d, least privilege),
to be confirmed likewise. Administrators of system and security see no customer."""


def find_purpose_fault(roles: Iterable[Role], purpose: Purpose, *, clear: bool) -> str | None:
    """Return what purpose is needed instead, or None."""
    own = {allowed for role in roles for allowed in PURPOSES[role]}
    allowed = own & CLEAR_PURPOSES if clear else own
    return (
        None
        if purpose in allowed
        else f"one of {', '.join(sorted(allowed)) or 'none: your roles look at nobody'}"
    )


class Kind(enum.StrEnum):
    """How a look came about."""

    VIEW = "view"
    UNMASK = "unmask"
    SEARCH_HIT = "search_hit"
    LIST_ROW = "list_row"
    EXPORT_ROW = "export_row"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks and from where, as their session says."""

    staff: str
    role: str
    branch: str
    terminal: str | None
    address: str | None
    approval: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be shown: the subject, its personal fields, and why."""

    subject: Subject
    subject_id: str
    fields: tuple[str, ...]
    clear: bool
    purpose: Purpose
    case_id: str | None
    kind: Kind = Kind.VIEW
    page_id: str | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """Return the names of all fields that an answer shows, as they are recorded."""
        return (*self.fields, *FACTS[self.subject])


def record_of(look_id: str, site: str, viewer: Viewer, wish: Wish) -> dict[str, Any]:
    """Return the record of a look, as `core.record_looks` takes it."""
    return {
        **asdict(viewer),
        **asdict(wish),
        "fields": list(wish.shown),
        "look_id": look_id,
        "site": site,
    }
