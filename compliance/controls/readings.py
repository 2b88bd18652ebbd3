"""A reading: what a probe saw, where and when, with the hash that a pack is checked by. Pure."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compliance.audit.digest import compute_sm3

SYSTEM = "system"
"""Where a probe of the whole system reads."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one probe at one place (`idc`, `cloud` or `system`).

    `facts` None: the source could not be asked, `failure` says why. `at` is aware UTC, when the asking began.
    """

    probe: str
    where: str
    at: dt.datetime
    facts: Mapping[str, Any] | None
    failure: str
    sm3: str

    def to_plain(self) -> dict[str, Any]:
        """Return plain values, as a pack has them."""
        return {**_body(self.probe, self.where, self.at, self.facts, self.failure), "sm3": self.sm3}


def make_reading(
    probe: str, where: str, at: dt.datetime, facts: Mapping[str, Any] | None, failure: str = ""
) -> Reading:
    """Return a reading with its hash; ValueError when its facts are no JSON."""
    return Reading(probe, where, at, facts, failure, _hash(probe, where, at, facts, failure))


def parse_reading(plain: Mapping[str, Any]) -> Reading:
    """Return a reading of a pack as it stands there; KeyError, ValueError, TypeError when malformed."""
    at = dt.datetime.fromisoformat(plain["at"])
    return Reading(plain["probe"], plain["where"], at, plain["facts"], plain["failure"], plain["sm3"])


def is_whole(reading: Reading) -> bool:
    """Say whether a reading still has the hash it was made with."""
    return reading.sm3 == _hash(
        reading.probe, reading.where, reading.at, reading.facts, reading.failure
    )  # fmt: skip


def _body(
    probe: str, where: str, at: dt.datetime, facts: Mapping[str, Any] | None, failure: str
) -> dict[str, Any]:
    return {
        "probe": probe, "where": where, "at": at.isoformat(), "facts": None if facts is None else dict(facts),
        "failure": failure,
    }  # fmt: skip


def _hash(
    probe: str, where: str, at: dt.datetime, facts: Mapping[str, Any] | None, failure: str
) -> str:  # fmt: skip
    return compute_sm3(canonical(_body(probe, where, at, facts, failure))).hex()


def canonical(plain: Any) -> bytes:
    """Return the one spelling of plain values that is hashed: sorted keys, no spaces, UTF-8."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()
