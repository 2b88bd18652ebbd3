"""The words of a recorded drill as values: operations, attempts, marks, the whole history. Pure.

Instants are CLOCK_MONOTONIC nanoseconds: on one machine comparable with the agents' journals.
"""

import dataclasses
import enum
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

INTENT = "intent"
"""Name of the marks that say what is about to be done."""


class Kind(enum.StrEnum):
    """What a customer asked for."""

    CUSTOMER = "customer"
    APPLICATION = "application"
    CONTRACT = "contract"
    DRAW = "draw"
    REPAYMENT = "repayment"
    BALANCE = "balance"


class Outcome(enum.StrEnum):
    """What is known: OK was acknowledged, FAIL certainly took no effect, UNKNOWN may have."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request on the wire. FAIL here means: this attempt took no effect."""

    entrance: str
    start_ns: int
    end_ns: int
    outcome: Outcome
    status: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a customer with all its attempts under one idempotency key.

    `scheduled_ns` is when the customer wanted it (latency counts from there), `invoked_ns` when
    the first attempt left, `completed_ns` when the outcome was known. `epoch` is what the answer
    named, 0 when there was none. `subject` is the customer, contract or loan it was about. `cell`
    is empty while nobody has told which cell it is. `phase` is `prepare` or `load`.
    """

    op_id: int
    kind: Kind
    key: str
    entrance: str
    cell: str
    scheduled_ns: int
    invoked_ns: int
    completed_ns: int
    outcome: Outcome
    epoch: int = 0
    status: int = 0
    replayed: bool = False
    amount_fen: int = 0
    subject: str = ""
    phase: str = "load"
    answer: dict[str, Any] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def is_write(self) -> bool:
        """Whether it changes the books; a balance read does not."""
        return self.kind is not Kind.BALANCE

    @property
    def latency_seconds(self) -> float:
        """Seconds from the scheduled arrival to the outcome."""
        return (self.completed_ns - self.scheduled_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Invoke:
    """An operation that is about to be sent: whatever follows, its key may take effect."""

    op_id: int
    kind: Kind
    key: str
    entrance: str
    cell: str
    scheduled_ns: int
    invoked_ns: int
    amount_fen: int = 0
    subject: str = ""
    phase: str = "load"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What repeating the key of an unknown operation brought to light, after the load had ended."""

    op_id: int
    outcome: Outcome
    at_ns: int
    cell: str = ""
    epoch: int = 0
    status: int = 0
    replayed: bool = False
    answer: dict[str, Any] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantNote:
    """A cell's grant as the drill saw it change in etcd."""

    at_ns: int
    cell: str
    epoch: int
    mode: str
    primary: str
    sync_set: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A step of the runbook: `name` is for programs, `text` for people."""

    at_ns: int
    name: str
    text: str = ""
    cell: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What was run, so that it can be run again; `started_at` is aware UTC in ISO 8601."""

    drill: str
    site: str
    seed: int
    rate: float
    key_prefix: str
    started_at: str
    started_ns: int
    options: dict[str, Any] = field(default_factory=dict)


Record = Header | Invoke | Op | Resolution | GrantNote | Mark


@dataclass(frozen=True, slots=True)
class History:
    """A whole recorded run. `ops` are as recorded, unfinished ones as unknown."""

    header: Header | None
    ops: tuple[Op, ...]
    resolutions: tuple[Resolution, ...] = ()
    grants: tuple[GrantNote, ...] = ()
    marks: tuple[Mark, ...] = ()

    def settled(self) -> tuple[Op, ...]:
        """Return the operations with what resolving brought to light put in.

        A resolved one is complete only since then: it may have taken effect as late as that.
        """
        last = {resolution.op_id: resolution for resolution in self.resolutions}
        return tuple(_settle(op, last.get(op.op_id)) for op in self.ops)

    def mark_ns(self, name: str) -> int | None:
        """Return when the step `name` was first marked, None when it never was."""
        return next((mark.at_ns for mark in self.marks if mark.name == name), None)


def _settle(op: Op, found: Resolution | None) -> Op:
    if found is None or op.outcome is not Outcome.UNKNOWN or found.outcome is Outcome.UNKNOWN:
        return op
    return dataclasses.replace(
        op, completed_ns=found.at_ns, outcome=found.outcome, cell=found.cell or op.cell, epoch=found.epoch,
        status=found.status, replayed=found.replayed, answer=found.answer,
    )  # fmt: skip


def compose_history(records: Iterable[Record]) -> History:
    """Sort records into a history; an invoke without its outcome becomes an unknown operation."""
    by_type: dict[type[Any], list[Any]] = defaultdict(list)
    for record in records:
        by_type[type(record)].append(record)
    done = {op.op_id for op in by_type[Op]}
    torn = [_unfinished(invoke) for invoke in by_type[Invoke] if invoke.op_id not in done]
    return History(
        header=by_type[Header][0] if by_type[Header] else None,
        ops=tuple(sorted([*by_type[Op], *torn], key=lambda op: op.op_id)),
        resolutions=tuple(by_type[Resolution]),
        grants=tuple(by_type[GrantNote]),
        marks=tuple(by_type[Mark]),
    )


def _unfinished(invoke: Invoke) -> Op:
    return Op(**dataclasses.asdict(invoke), completed_ns=invoke.invoked_ns, outcome=Outcome.UNKNOWN)
