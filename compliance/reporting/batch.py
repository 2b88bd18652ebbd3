"""What is filed as one: findings, a manifest, its hash, its id; what a batch may become. Pure."""

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from core_app.documents import make_canonical


@dataclass(frozen=True, slots=True)
class Words:
    """A text in both languages."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    zh: str
    en: str


class Kind(enum.StrEnum):
    """What is filed."""

    EAST = "east"
    PBOC = "pboc"
    RETURNS = "1104"


class State(enum.StrEnum):
    """What became of a batch. ACCEPTED and REJECTED are final."""

    PREPARED = "prepared"
    SENDING = "sending"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


FINAL = frozenset({State.ACCEPTED, State.REJECTED})


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that breaks a rule: nothing of its batch leaves."""

    table: str
    key: str
    rule: str
    found: str
    needed: str
    cell: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """One computed filing. `content` is what the same books always give; `seen` is where it was read."""

    kind: Kind
    day: dt.date
    since: dt.date | None
    content: Mapping[str, Any]
    seen: Mapping[str, Any]
    findings: Sequence[Finding]

    @property
    def sm3(self) -> bytes:
        """Return the hash by which the two sites know that they file the same."""
        return make_canonical(self.content).sm3

    def manifest(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "kind": str(self.kind), "day": self.day.isoformat(),
            "since": self.since.isoformat() if self.since else None, "sm3": self.sm3.hex(),
            "content": dict(self.content), "seen": dict(self.seen),
        }  # fmt: skip


def batch_id_of(kind: Kind, day: dt.date, version: int) -> str:
    """Return the id by which we and the regulator know a batch; the same at both sites."""
    return f"{kind}-{day:%Y%m%d}-{version:03d}"


def default_since(day: dt.date) -> dt.date:
    """Return the evening before the period of a filing: the last day of the month before."""
    return day.replace(day=1) - dt.timedelta(days=1)


def plan_next(state: State, answer: str | None) -> State | None:
    """Return what a batch becomes by the regulator's answer (`received`, `accepted`, `rejected`), or None.

    None: nothing is known that changes it. An answer about a batch that is final changes nothing: a regulator
    may answer twice.
    """
    if state in FINAL or answer is None:
        return None
    wanted = State(answer)
    return None if wanted is state else wanted
