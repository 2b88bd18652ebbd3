"""What the cells keep of the matrix's workloads, as plain values. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DoneRow:
    """One row of faults.done: a token that took effect, in which epoch, at which copy, with what answer.

    `at_us` is the server's clock when the row was made, microseconds since 1970.
    """

    token: str
    batch: int
    action: str
    epoch: int
    copy: str
    at_us: int
    answer: Mapping[str, Any]
    legs_fen: tuple[int, ...] = ()
    """Amounts this token moved between accounts."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account's stored balance beside the sum of all legs that touched it, in fen."""

    account: int
    balance_fen: int
    legs_fen: int


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """A register's stored state; version 0 was never written."""

    key: str
    version: int
    value: str


@dataclass(frozen=True, slots=True)
class KeptRows:
    """What one cell keeps, read in one snapshot on its granted primary in `epoch`."""

    cell: str
    epoch: int
    done: tuple[DoneRow, ...] = ()
    accounts: tuple[AccountRow, ...] = ()
    registers: tuple[RegisterRow, ...] = ()


Kept = Mapping[str, KeptRows | None]
"""Rows by cell; None for a cell that could not be read."""
