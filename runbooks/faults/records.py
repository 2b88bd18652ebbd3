"""What the matrix's own workloads did, as values; one line each in `faults.jsonl`. Pure.

Instants are CLOCK_MONOTONIC nanoseconds, comparable over all processes of one machine.
"""

import dataclasses
import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from runbooks.drills.records import Outcome


class Action(enum.StrEnum):
    """One operation of a workload. ADD: unique set. TRANSFER, TOTAL: bank. The rest: registers."""

    ADD = "add"
    TRANSFER = "transfer"
    TOTAL = "total"
    WRITE = "write"
    CAS = "cas"
    READ = "read"
    """Confirmed: its commit waits for the sync copy like a write's, so it has to be linearizable."""
    PEEK = "peek"
    """Plain: what a screen shows; may be stale for as long as a primary may go unconfirmed."""


WRITES = frozenset({Action.ADD, Action.TRANSFER, Action.WRITE, Action.CAS})


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation about to be sent: whatever follows, its token may take effect."""

    op_id: int
    batch: int
    action: Action
    token: str
    cell: str
    entrance: str
    invoked_ns: int
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Op:
    """One operation with its outcome. `epoch` is what the answer was committed or read in, 0 for none.

    FAIL took certainly no effect. `completed_ns` of an unknown one that was resolved later is when it
    was resolved; of one nobody resolved it is 0, and it stays concurrent with everything after it.
    """

    op_id: int
    batch: int
    action: Action
    token: str
    cell: str
    entrance: str
    invoked_ns: int
    completed_ns: int
    outcome: Outcome
    epoch: int = 0
    tries: int = 1
    note: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def is_write(self) -> bool:
        """Whether it leaves a row of its own."""
        return self.action in WRITES

    @property
    def key(self) -> str:
        """Return the register it is about, empty for other workloads."""
        return str(self.arguments.get("key", ""))


@dataclass(frozen=True, slots=True)
class Resolved:
    """What repeating an unknown operation's token brought to light."""

    op_id: int
    at_ns: int
    outcome: Outcome
    epoch: int = 0
    answer: dict[str, Any] = field(default_factory=dict)


def settle(ops: Iterable[Op], resolutions: Iterable[Resolved]) -> list[Op]:
    """Return the operations with what resolving brought to light put in."""
    last = {found.op_id: found for found in resolutions if found.outcome is not Outcome.UNKNOWN}
    return [_settled(op, last.get(op.op_id)) for op in ops]


def _settled(op: Op, found: Resolved | None) -> Op:
    if op.outcome is not Outcome.UNKNOWN:
        return op
    if found is None:
        return dataclasses.replace(op, completed_ns=0)
    return dataclasses.replace(
        op, outcome=found.outcome, completed_ns=found.at_ns, epoch=found.epoch, answer=found.answer
    )


def unfinished(begun: Begun) -> Op:
    """Return an operation whose end nobody saw as an unknown one."""
    return Op(**dataclasses.asdict(begun), completed_ns=0, outcome=Outcome.UNKNOWN)
