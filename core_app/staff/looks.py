"""What staff can look at, for which purposes, and which fields they are shown. Pure."""

import enum
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks and from where. `staff` is what the request says; access control will sign it."""

    staff: str
    terminal: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be shown: the subject, its personal fields, and why."""

    subject: Subject
    subject_id: str
    fields: tuple[str, ...]
    clear: bool
    purpose: Purpose
    case_id: str | None

    @property
    def shown(self) -> tuple[str, ...]:
        """Return the names of all fields that an answer shows, as they are recorded."""
        return (*self.fields, *FACTS[self.subject])
