"""What one run leaves behind, as values. No I/O, no clock."""

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """What a client knows about its operation when it stops trying.

    NOT_DONE: no COMMIT was ever sent, so nothing may be found of it. UNKNOWN: one was, unanswered.
    """

    OK = "ok"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One operation: a unique row, and its amount moved from `debit` to `credit`. Amount in fen."""

    key: str
    debit: int
    credit: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Op:
    """A transfer as its client saw it; nanoseconds of the monotonic clock.

    `server` is the port that acknowledged it, None unless `outcome` is OK; `tries` counts the
    transactions begun for it, all under the same key.
    """

    transfer: Transfer
    begun_ns: int
    ended_ns: int
    outcome: Outcome
    server: int | None
    tries: int


@dataclass(frozen=True, slots=True)
class Marks:
    """When what happened, in nanoseconds of the monotonic clock.

    `noticed_ns`: the survivors decided that the leader is gone (ours: the grant is being taken;
    Patroni: its key in etcd has run out). `promoted_ns`: a survivor left recovery.
    """

    killed_ns: int
    noticed_ns: int | None
    promoted_ns: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """What stood in the database at the end: the rows, and the balance of each account in fen."""

    rows: tuple[Transfer, ...]
    balances: dict[int, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Seconds count from the kill; None: it did not happen before the run gave up.

    `lost`: acknowledged and not there. `phantom`: there, but never asked for, asked for otherwise, or
    certainly not done. `misbooked`: accounts whose balance is not the sum of the rows: something was
    applied twice or by half. `failed`: operations that were not acknowledged before their deadline.
    """

    noticed_s: float | None
    promoted_s: float | None
    first_ack_s: float | None
    operations: int
    acknowledged: int
    failed: int
    unknown: int
    lost: int
    phantom: int
    misbooked: int
