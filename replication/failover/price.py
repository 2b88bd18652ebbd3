"""What promoting a copy would cost, from what is known when the primary is gone. Pure.

The price is put into words by who shows it; its token binds the operator's consent to this grant, this
copy and these figures. What is not known is None, never 0.
"""

import hashlib
import json
from dataclasses import dataclass, replace

from replication.exposure import Exposure
from replication.failover.force import Objection, find_objection
from replication.failover.silence import agent_silent_ms
from replication.failover.states import CopyState, Seen
from replication.model import CopyId, Grant, Mode
from replication.settings import FailoverSettings


@dataclass(frozen=True, slots=True)
class CopyStanding:
    """Another copy of the cell as its agent sees it: how far it is, on which timeline (LSN in bytes)."""

    place: str
    copy: CopyId | None
    state: CopyState
    timeline: int
    received_lsn: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a forced promotion of `copy` would lose.

    LSNs and `gap_bytes` are bytes of WAL. `commits` and `moved_fen` (debit side of the ledger lines of
    those commits) are upper bounds of what the copy lacks, as of `known_at`. `silent_for_ms` is how long
    the primary's agent has said nothing: what it committed between `known_at` and then is in no figure.
    `others` are the other copies whose agents answer; `better` one that has more than this one.
    """

    cell: str
    copy: CopyId
    primary: CopyId
    epoch: int
    revision: int
    mode: Mode
    copy_lsn: int
    primary_lsn: int | None
    gap_bytes: int | None
    commits: int | None
    moved_fen: int | None
    since: str | None
    known_at: str | None
    silent_for_ms: int
    others: tuple[CopyStanding, ...]
    objection: Objection | None
    better: str | None
    token: str = ""


def compute_price(
    seen: Seen, known: Exposure | None, others: tuple[CopyStanding, ...], limits: FailoverSettings
) -> Price | None:
    """Return the price of promoting the copy that `seen` is about; None without a grant or a directory.

    `known` is what the primary's agent last published about the cell; one of another primary or epoch
    counts as nothing known.
    """
    grant_seen, own, copy = seen.grant, seen.own, seen.own.copy
    if grant_seen is None or copy is None:
        return None
    grant = grant_seen.grant
    if known is not None and not _is_about(known, grant):
        known = None
    # Counted from where a copy at the other site was: a copy that is less far lacks more than was counted.
    counted = known is not None and known.base_lsn is not None and own.received_lsn >= known.base_lsn
    better = next((other.place for other in others if _is_better(other, seen)), None)
    objection = find_objection(seen, limits)
    if objection is None and better is not None:
        objection = Objection.BETTER_COPY
    price = Price(
        cell=seen.cell,
        copy=copy,
        primary=grant.primary,
        epoch=grant.epoch,
        revision=grant_seen.revision,
        mode=grant.mode,
        copy_lsn=own.received_lsn,
        primary_lsn=known.wal_flush_lsn if known else None,
        gap_bytes=max(0, known.wal_flush_lsn - own.received_lsn) if known else None,
        commits=known.commits if known and counted else None,
        moved_fen=known.moved_fen if known and counted else None,
        since=known.since if known else None,
        known_at=known.at if known else None,
        silent_for_ms=agent_silent_ms(seen, grant.primary),
        others=others,
        objection=objection,
        better=better,
    )
    return replace(price, token=compute_token(price))


def compute_token(price: Price) -> str:
    """Return what the operator has to repeat: other as soon as the grant or any figure of the loss is."""
    figures = (
        str(price.copy), price.epoch, price.revision, price.copy_lsn, price.primary_lsn,
        price.commits, price.moved_fen, price.known_at,
    )  # fmt: skip
    return "lose-" + hashlib.sha256(json.dumps(figures).encode()).hexdigest()[:12]


def _is_about(known: Exposure, grant: Grant) -> bool:
    """While a cell is being taken its epoch is ahead of the one its primary served in."""
    same_epoch = known.epoch == grant.epoch or (grant.mode is Mode.TAKING and known.epoch < grant.epoch)
    return known.copy == grant.primary and same_epoch


def _is_better(other: CopyStanding, seen: Seen) -> bool:
    if other.copy is None or other.copy == seen.own.copy or other.state is not CopyState.STANDBY:
        return False
    return (other.timeline, other.received_lsn) > (seen.own.timeline, seen.own.received_lsn)
