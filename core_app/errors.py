"""Refusals of the core, and the base of its exceptions. Pure. No message carries personal data."""

import enum
from dataclasses import dataclass


class CoreError(Exception):
    """Base of this package's exceptions."""


class Kind(enum.StrEnum):
    """Why a request is refused; the HTTP status stands beside it in `api/problem.py`."""

    MALFORMED = "malformed-request"
    INVALID = "invalid-request"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    KEY_REUSED = "idempotency-key-reused"
    TOO_LARGE = "body-too-large"
    RULE = "rule-refused"


@dataclass(frozen=True, slots=True)
class RuleBroken:
    """A rule that refuses: its id, the value found, its limit, the day it was asked for, its source."""

    rule: str
    found: str
    limit: str
    on: str
    source: str


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One bad field: `path` such as `body.amount_fen`, what was found there and what is needed."""

    path: str
    found: str
    needed: str


class Refused(CoreError):
    """A request that leaves no trace: raised inside a transaction, it rolls everything back.

    A business decision against an applicant is not this: that is recorded and answered with 201.
    `cell` and `epoch` say where it was found out, when a transaction found it out.
    """

    cell: str | None = None
    epoch: int | None = None

    def __init__(
        self, kind: Kind, detail: str, *errors: FieldProblem, rules: tuple[RuleBroken, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.rules = rules


class LedgerUnbalanced(CoreError):
    """A posting whose entries do not sum to zero: a programming error, stopped before any insert."""


class DocumentInvalid(CoreError):
    """A document of ours cannot be read; the message names file, field, finding and need."""


class ProductInvalid(DocumentInvalid):
    """A product document cannot be published; the message names file, field, finding and need."""


def refuse_field(path: str, found: str, needed: str) -> Refused:
    """Return the refusal of one bad field."""
    return Refused(Kind.INVALID, f"{path}: {needed}", FieldProblem(path, found, needed))


def refuse_conflict(path: str, found: str, needed: str) -> Refused:
    """Return the refusal of a field that is in conflict with what is recorded."""
    return Refused(Kind.CONFLICT, f"{path}: {found}", FieldProblem(path, found, needed))
