"""What is said to debtors: versioned texts with placeholders, in Chinese with English beside. Pure.

A text names no person, no number of a loan and no account: of the debtor's affairs it holds the overdue
amount, its due date and its days, and nothing at all where somebody else may listen (`discloses: false`). A
text that was used is never changed: a new version begins on a day.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Annotated

from pydantic import Field, TypeAdapter, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Group, Line, Name
from core_app.servicing.contact import Channel

OPEN = frozenset({"phone"})
"""Placeholders that say nothing of the debtor: our own number for questions and complaints."""
OF_THE_DEBT = frozenset({"amount_yuan", "due", "days"})
Body = Annotated[str, Field(min_length=10, max_length=500)]


class Version(Group):
    """One text, used from a day on until a later version begins."""

    version: Annotated[int, Field(gt=0, strict=True)]
    first_day: dt.date = Field(alias="from")
    zh: Body
    en: Body


class Script(Group):
    """A script: for which channel and which moment, and its versions, the oldest first."""

    id: Name
    channel: Channel
    moment: Line
    discloses: bool = True
    versions: Annotated[tuple[Version, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "Script":
        allowed = OPEN | OF_THE_DEBT if self.discloses else OPEN
        for number, one in enumerate(self.versions, 1):
            if one.version != number:
                raise ValueError(f"version {one.version} in place {number}: needs 1, 2, 3, ...")
            for text in (one.zh, one.en):
                if wrong := sorted(placeholders_of(text) - allowed):
                    raise ValueError(f"placeholders {wrong}: needs some of {sorted(allowed)}")
        days = [one.first_day for one in self.versions]
        if days != sorted(set(days)):
            raise ValueError("versions need ascending days")
        return self


def _need_distinct(scripts: Sequence[Script]) -> None:
    ids = [script.id for script in scripts]
    if len(set(ids)) != len(ids):
        raise DocumentInvalid("scripts: an id stands twice")


SCRIPTS: TypeAdapter[tuple[Script, ...]] = TypeAdapter(tuple[Script, ...])


@dataclass(frozen=True, slots=True)
class Library:
    """All scripts by id."""

    by_id: Mapping[str, Script]

    def find(self, script_id: str, day: dt.date) -> tuple[Script, Version]:
        """Return a script and its version on `day`; DocumentInvalid when there is none."""
        script = self.by_id.get(script_id)
        versions = [one for one in script.versions if one.first_day <= day] if script else []
        if script is None or not versions:
            raise DocumentInvalid(f"script {script_id}: no version of it is in use on {day}")
        return script, versions[-1]


def make_library(scripts: Sequence[Script]) -> Library:
    """Return the library; DocumentInvalid when an id stands twice."""
    _need_distinct(scripts)
    return Library({script.id: script for script in scripts})


@dataclass(frozen=True, slots=True)
class Debt:
    """What a text may say of a debt: overdue in fen, since which due date, for how many days."""

    overdue_fen: int
    due: dt.date
    days: int


def placeholders_of(text: str) -> frozenset[str]:
    """Return the names in braces; ValueError for anything but plain names.

    >>> sorted(placeholders_of("{amount_yuan} since {due}"))
    ['amount_yuan', 'due']
    """
    found = set()
    for _, name, spec, conversion in Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"{{{name}}}: needs a plain name in braces")
        found.add(name)
    return frozenset(found)


def make_words(version: Version, debt: Debt, phone: str) -> str:
    """Return the text in both languages; `phone` is our own number."""
    yuan = f"{debt.overdue_fen // 100:,}.{debt.overdue_fen % 100:02d}"
    values = {"amount_yuan": yuan, "due": debt.due, "days": debt.days, "phone": phone}
    return f"{version.zh.format(**values)}\n{version.en.format(**values)}"
