"""The final database rows that the checkers judge, as plain values. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One row of core.commands: what a cell remembers to have answered to an idempotency key."""

    key: str
    kind: str
    epoch: int
    status: int
    response: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One ledger entry; debit is positive, credit negative, in fen."""

    entry_id: str
    transaction_id: str
    account: str
    amount_fen: int
    key: str
    loan_id: str = ""


@dataclass(frozen=True, slots=True)
class LoanRow:
    """A loan's stored balance beside what its ledger entries add up to, both in fen."""

    loan_id: str
    balance_fen: int
    entries_fen: int


@dataclass(frozen=True, slots=True)
class CellRows:
    """Everything of one cell, read in one snapshot on its primary. `epoch` is the cell's own row."""

    cell: str
    epoch: int
    commands: tuple[CommandRow, ...] = ()
    entries: tuple[EntryRow, ...] = ()
    loans: tuple[LoanRow, ...] = ()
    trial_balance_fen: int = 0
    earlier_missing: tuple[str, ...] = field(default=())
    """Keys that were there before the drill and are not any more."""
