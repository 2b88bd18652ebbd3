"""What reviewers of staff behaviour decide: acts that are only ever added, and where a review stands. Pure.

A disposition needs two people, and so does learning whose pseudonym it is. The same rules hold for the
portal's reviews (`review_service.py`) and for those of a folder of files (`ueba.journal`).
"""

import datetime as dt
import enum
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ALLOWED_DAYS = 90
"""How long an explanation holds at most. Source: our choice, a quarter."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,63}$")]
"""A reviewer's account or a pseudonym."""
Family = Annotated[str, Field(pattern=r"^[a-z_]{2,40}$")]
"""A kind of behaviour, as reasons name it."""


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
    by: Name
    staff: Name
    on: dt.date = Field(description="The day that was reviewed.")
    disposition: Disposition | None = None
    family: Family | None = Field(default=None, description="Kind of behaviour that was explained.")
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


def plain(case: Case) -> dict[str, Any]:
    """Return a case as JSON has it."""
    return case.model_dump(mode="json")
