"""What reviewers decide: acts that are only ever added, and what follows from them. Pure.

A disposition needs two people, and so does learning whose pseudonym it is. Nothing here lowers a score:
an explained kind of behaviour is allowed for a while and up to what was seen; an open case's days do not
become usual.
"""

import datetime as dt
import enum
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ueba.events import Token, Word
from ueba.evidence import Distrust
from ueba.queue import Reviewed
from ueba.scoring import Allowance
from ueba.settings import day_number

ALLOWED_DAYS = 90
"""How long an explanation holds at most. Source: our choice, a quarter."""


class Disposition(enum.StrEnum):
    """What a review found."""

    MALICIOUS = "malicious"
    POLICY_BREACH = "policy_breach"
    EXPLAINED = "explained"
    DATA_FAULT = "data_fault"
    ROLE_CHANGE = "role_change"


Kind = Literal["open", "propose", "confirm", "reject", "ask_unmask", "approve_unmask"]


class Act(BaseModel):
    """One act of a reviewer. `seen` are the digits of rarity that the reviewer was shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    by: Token
    staff: Token
    on: dt.date = Field(description="The day that was reviewed.")
    disposition: Disposition | None = None
    family: Word | None = Field(default=None, description="Kind of behaviour that was explained.")
    until: dt.date | None = Field(default=None, description="Last day of an explanation.")
    fresh: Annotated[float, Field(ge=0)] = 0.0
    slow: Annotated[float, Field(ge=0)] = 0.0


class Case(BaseModel):
    """Where the review of a person's day stands."""

    model_config = ConfigDict(frozen=True)

    staff: str
    on: dt.date
    open: bool
    disposition: Disposition | None
    proposed_by: str | None
    confirmed_by: str | None
    unmasked_by: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()


def check_act(acts: Sequence[Act], act: Act) -> str:
    """Return why an act may not follow the others; empty when it may."""
    case = find_case(acts, act.staff, act.on)
    asked = [one.by for one in (case.acts if case else ()) if one.kind == "ask_unmask"]
    if act.by == act.staff:
        return "by: nobody reviews himself"
    if act.kind == "open":
        return "on: this day is under review already" if case else ""
    if case is None:
        return "on: no review of this day was opened; needs `open` first"
    if act.kind == "ask_unmask":
        return ""
    if act.kind == "approve_unmask":
        others = [name for name in asked if name != act.by]
        return "" if others else "by: needs another person to have asked; nobody approves his own wish"
    if not case.open:
        return f"on: the review is closed as {case.disposition} by {case.proposed_by} and {case.confirmed_by}"
    if act.kind == "propose":
        return _check_proposal(act)
    if case.disposition is None:
        return "disposition: nothing was proposed"
    return "by: the other pair of eyes must not be the proposer's" if act.by == case.proposed_by else ""


def _check_proposal(act: Act) -> str:
    if act.disposition is None:
        return "disposition: missing"
    if act.disposition is not Disposition.EXPLAINED:
        return ""
    if act.family is None or act.until is None:
        return "family, until: an explanation says which kind of behaviour, and until when"
    if not 0 <= (act.until - act.on).days <= ALLOWED_DAYS:
        return f"until: {act.until}; needs a day within {ALLOWED_DAYS} days of the review"
    return ""


def find_case(acts: Sequence[Act], staff: str, on: dt.date) -> Case | None:
    """Return where the review of a person's day stands, None when there is none."""
    mine = tuple(act for act in acts if (act.staff, act.on) == (staff, on))
    if not mine:
        return None
    disposition: Disposition | None = None
    proposed_by = confirmed_by = None
    unmasked: list[str] = []
    for act in mine:
        if act.kind == "propose":
            disposition, proposed_by = act.disposition, act.by
        elif act.kind == "reject":
            disposition = proposed_by = None
        elif act.kind == "confirm":
            confirmed_by = act.by
        elif act.kind == "approve_unmask":
            unmasked = [next(one.by for one in mine if one.kind == "ask_unmask" and one.by != act.by), act.by]
    return Case(
        staff=staff, on=on, open=confirmed_by is None, disposition=disposition, proposed_by=proposed_by,
        confirmed_by=confirmed_by, unmasked_by=tuple(unmasked), acts=mine,
    )  # fmt: skip


def list_cases(acts: Sequence[Act]) -> list[Case]:
    """Return all cases, the newest day first."""
    keys = sorted({(act.on, act.staff) for act in acts}, reverse=True)
    return [case for on, staff in keys if (case := find_case(acts, staff, on)) is not None]


def reviewed_of(acts: Sequence[Act]) -> dict[str, Reviewed]:
    """Return the last review of each person, as the queue wants it."""
    made: dict[str, Reviewed] = {}
    for case in reversed(list_cases(acts)):
        first = case.acts[0]
        before = made.get(case.staff)
        day = day_number(case.on)
        days = (*(before.days if before else ()), day)
        made[case.staff] = Reviewed(day, first.fresh, first.slow, days, open=case.open)
    return made


def distrusted_of(acts: Sequence[Act], today: dt.date) -> list[Distrust]:
    """Return the days that must not become usual: of open cases and of misuse that was found."""
    kept = (Disposition.MALICIOUS, Disposition.POLICY_BREACH)
    return [
        Distrust(case.staff, day_number(case.on), day_number(today))
        for case in list_cases(acts)
        if case.open or case.disposition in kept
    ]


def allowed_of(acts: Sequence[Act]) -> list[Allowance]:
    """Return what confirmed explanations allow: a kind of behaviour, until a day, up to what was seen."""
    made = []
    for case in list_cases(acts):
        proposed = next((act for act in reversed(case.acts) if act.kind == "propose"), None)
        if case.open or proposed is None or case.disposition is not Disposition.EXPLAINED:
            continue
        if proposed.family is not None and proposed.until is not None:
            until = day_number(proposed.until)
            made.append(
                Allowance(
                    case.staff,
                    proposed.family,
                    day_number(case.on),
                    until,
                    max(proposed.fresh, proposed.slow),
                )
            )
    return made


def plain(case: Case) -> dict[str, Any]:
    """Return a case as JSON has it."""
    return case.model_dump(mode="json")
