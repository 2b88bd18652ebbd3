"""From readings and attestations to verdicts: met, not met, or unknown. Pure.

Unknown is never taken for met. It is what a missing, old, unreachable, incomplete or altered reading gives,
and an attestation that is missing, expired, or confirmed by nobody else. Not met wins over unknown: one site
that fails is a failure, whatever the other says.
"""

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compliance.controls.catalogue import Basis, Catalogue, Check, Item, Scope
from compliance.controls.readings import SYSTEM, Reading, is_whole

AHEAD_S = 5
"""How far a reading's time may lie ahead of the judge's. Source: our choice; clocks are kept by NTP."""


class State(enum.StrEnum):
    """A verdict."""

    MET = "met"
    NOT_MET = "not_met"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attested:
    """What two people say of an item. Dates are of the calendar; `valid_to` is the last day it holds.

    `holds` False: they say that the item is not met.
    """

    attestation_id: str
    item: str
    holds: bool
    owner: str
    statement: str
    document: str
    document_sm3: str
    valid_from: dt.date
    valid_to: dt.date
    made_by: str
    confirmed_by: str | None
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an item at one place; `evidence` are hashes of readings and ids of attestations."""

    item: str
    where: str
    state: State
    reasons: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An item over all places."""

    item: str
    state: State
    verdicts: tuple[Verdict, ...]

    @property
    def met_share(self) -> float:
        """Return the part of its places at which it is met, 0 to 1."""
        return sum(one.state is State.MET for one in self.verdicts) / len(self.verdicts)


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything a judgement rests on. `sites` are the data sites that must be read; `now` is aware UTC."""

    sites: tuple[str, ...]
    now: dt.datetime
    readings: Sequence[Reading]
    attestations: Sequence[Attested]


def judge(catalogue: Catalogue, seen: Seen) -> dict[str, Outcome]:
    """Return the outcome of every item."""
    newest: dict[tuple[str, str], Reading] = {}
    for reading in seen.readings:
        place = (reading.probe, reading.where)
        if place not in newest or newest[place].at < reading.at:
            newest[place] = reading
    attested = {item: _choose(item, seen) for item in catalogue.items}
    return {item.id: _judge_item(catalogue, item, seen, newest, attested[item.id])
            for item in catalogue.items.values()}  # fmt: skip


def _judge_item(
    catalogue: Catalogue,
    item: Item,
    seen: Seen,
    newest: Mapping[tuple[str, str], Reading],
    attested: Attested | None,
) -> Outcome:
    probes = [catalogue.probes[name] for name in item.probes]
    places = seen.sites if any(probe.scope is Scope.SITE for probe in probes) else (SYSTEM,)
    verdicts = []
    for place in places:
        found: list[tuple[State, str, str]] = []
        for probe in probes:
            where = place if probe.scope is Scope.SITE else SYSTEM
            found += judge_reading(catalogue, probe.name, newest.get((probe.name, where)), seen.now)
        if item.basis is not Basis.LIVE:
            found.append(judge_attestation(attested, seen.now.date()))
        verdicts.append(
            Verdict(
                item.id, place, worst(state for state, _, _ in found),
                tuple(dict.fromkeys(reason for _, reason, _ in found if reason)),
                tuple(dict.fromkeys(mark for _, _, mark in found if mark)),
            )
        )  # fmt: skip
    return Outcome(item.id, worst(one.state for one in verdicts), tuple(verdicts))


def judge_reading(
    catalogue: Catalogue, name: str, reading: Reading | None, now: dt.datetime
) -> list[tuple[State, str, str]]:
    """Return state, reason and evidence of each check of a probe; reasons are empty where it passes."""
    probe = catalogue.probes[name]
    if reading is None:
        return [(State.UNKNOWN, f"{name}: was not read", "")]
    if not is_whole(reading):
        return [(State.UNKNOWN, f"{name}: the reading was altered", reading.sm3)]
    age_s = (now - reading.at).total_seconds()
    if not -AHEAD_S <= age_s <= probe.max_age_s:
        return [(State.UNKNOWN, f"{name}: read {age_s:.0f} s ago, at most {probe.max_age_s} s", reading.sm3)]
    if reading.facts is None:
        return [(State.UNKNOWN, f"{name}: {reading.failure or 'the source did not answer'}", reading.sm3)]
    return [(*judge_check(check, reading.facts), reading.sm3) for check in probe.checks]


def judge_check(check: Check, facts: Mapping[str, Any]) -> tuple[State, str]:
    """Return what one check says of facts; a fact that is missing or of another type is unknown."""
    if check.unless and facts.get(check.unless) is True:
        return State.MET, ""
    found = facts.get(check.fact)
    where = f"{check.probe}: {check.text.en} ({check.fact})"
    if found is None:
        return State.UNKNOWN, f"{where}: not known"
    passed = _compare(check, found)
    if passed is None:
        return State.UNKNOWN, f"{where}: found {_show(found)}, which cannot be compared"
    return (State.MET, "") if passed else (
        State.NOT_MET, f"{where}: found {_show(found)}, needs {check.needed}"
    )  # fmt: skip


def _compare(check: Check, found: Any) -> bool | None:
    """Return whether `found` passes; None when it is of a type that the check cannot judge."""
    if check.op == "empty":
        return not found if isinstance(found, list | tuple) else None
    if check.op == "in":
        return found in check.value if isinstance(found, str) else None
    if isinstance(check.value, bool) or isinstance(found, bool):
        return found is check.value if isinstance(found, bool) and isinstance(check.value, bool) else None
    if isinstance(check.value, str):
        return bool(found == check.value) if isinstance(found, str) else None
    if not isinstance(found, int | float):
        return None
    return bool(
        {"==": found == check.value, ">=": found >= check.value, "<=": found <= check.value}[check.op]
    )


def _show(found: Any) -> str:
    if isinstance(found, list | tuple) and len(found) > 5:
        return ", ".join(map(str, found[:5])) + f" and {len(found) - 5} more"
    return ", ".join(map(str, found)) if isinstance(found, list | tuple) else str(found)


def judge_attestation(attested: Attested | None, today: dt.date) -> tuple[State, str, str]:
    """Return state, reason and id of what people say of an item."""
    if attested is None:
        return State.UNKNOWN, "nobody has attested it", ""
    mark = attested.attestation_id
    if attested.withdrawn:
        return State.UNKNOWN, f"attestation of {attested.made_by} was withdrawn", mark
    if attested.confirmed_by is None or attested.confirmed_by == attested.made_by:
        return State.UNKNOWN, f"attestation of {attested.made_by} is not confirmed by a second person", mark
    if not attested.valid_from <= today <= attested.valid_to:
        return State.UNKNOWN, f"attestation holds {attested.valid_from} to {attested.valid_to}", mark
    if not attested.holds:
        return State.NOT_MET, f"{attested.made_by} and {attested.confirmed_by} say that it is not met", mark
    return State.MET, "", mark


def _choose(item: str, seen: Seen) -> Attested | None:
    """Return the attestation that counts: the newest that two people made, else the newest of all.

    Of two that begin on one day the one that says "not met" counts, until it is withdrawn.
    """
    mine = [one for one in seen.attestations if one.item == item]
    today = seen.now.date()

    def rank(one: Attested) -> tuple[bool, dt.date, bool, str]:
        known = judge_attestation(one, today)[0] is not State.UNKNOWN
        return known, one.valid_from, not one.holds, one.attestation_id

    return max(mine, key=rank, default=None)


def worst(states: Any) -> State:
    """Return the state of several together: any failure fails, else anything unknown is unknown."""
    found = set(states)
    if State.NOT_MET in found:
        return State.NOT_MET
    return State.UNKNOWN if State.UNKNOWN in found or not found else State.MET
