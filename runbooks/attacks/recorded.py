"""What a recorded attack may say, and whether an answer is what must come of a request. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from core_app.products.parameters.shapes import Group, Line

Rule = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{1,63}$")]
Person = Annotated[int, Field(strict=True, ge=1, le=99)]
_PROBLEM = "urn:biyi:problem:"
_NAMED = re.compile(r"\{([a-z_]+(?:\.\d+)?)\}")


class Both(Group):
    """A text in Chinese and in English."""

    zh: Line
    en: Line


class Recorded(Group):
    """One request; `{customer_id.4}` is what an earlier answer said of person 4, `{run}` this replay's name.

    `stopped_by` is the rule of a refused application or the kind of a problem; none: it gets through.
    `at_night` is the rule while the product's night hours last, where that differs.
    """

    method: Literal["GET", "POST"] = "GET"
    path: Annotated[str, Field(pattern=r"^/v1/")] | None = None
    body: dict[str, Any] | None = None
    person: Person | None = None
    as_: Annotated[str, Field(pattern=r"^(channel|(customer|expired|forged)\.\d+)$", alias="as")] = "channel"
    key: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")] | None = None
    search_gangs: bool = False
    stopped_by: Rule | None = None
    at_night: Rule | None = None

    @model_validator(mode="after")
    def _check_one(self) -> "Recorded":
        if (self.path is None) != self.search_gangs:
            raise ValueError("needs either a path or search_gangs")
        if self.person is not None and self.body is not None:
            raise ValueError("person makes the body: needs one of both")
        return self

    def wanted(self, *, night: bool) -> str | None:
        """Return what must stop it, None when it gets through."""
        return (self.at_night or self.stopped_by) if night else self.stopped_by


class Attack(Group):
    """One attack: its requests in the order in which they were recorded."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")]
    name: Both
    source: Line
    requests: Annotated[tuple[Recorded, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _check_stopped(self) -> "Attack":
        if not any(one.stopped_by for one in self.requests):
            raise ValueError(
                "requests: needs one with stopped_by: an attack that nothing has to stop is none"
            )
        return self


ATTACK: TypeAdapter[Attack] = TypeAdapter(Attack)


@dataclass(frozen=True, slots=True)
class Came:
    """What came of one request: its place, what had to stop it, what did (several rules may)."""

    place: int
    wanted: str | None
    stopped_by: tuple[str, ...]
    status: int

    @property
    def holds(self) -> bool:
        """Say whether it was stopped by what must, or got through as it may."""
        return self.wanted in self.stopped_by if self.wanted else not self.stopped_by


def read_stops(status: int, answer: Any) -> tuple[str, ...]:
    """Return what stopped a request: rules of a refused application, or the kind of a problem.

    >>> read_stops(201, {"decision": "refused", "reasons": [{"rule": "window.device"}]})
    ('window.device',)
    >>> read_stops(404, {"type": "urn:biyi:problem:not-found"}), read_stops(200, {})
    (('not-found',), ())
    """
    said = answer if isinstance(answer, dict) else {}
    if status >= 400:
        return (str(said.get("type", f"status-{status}")).removeprefix(_PROBLEM),)
    if said.get("decision") == "refused":
        return tuple(str(reason["rule"]) for reason in said["reasons"])
    return ()


def fill(plain: Any, known: Mapping[str, str]) -> Any:
    """Return a body or path with every `{name}` put in; KeyError for one that no answer said."""
    if isinstance(plain, dict):
        return {name: fill(value, known) for name, value in plain.items()}
    if isinstance(plain, list):
        return [fill(value, known) for value in plain]
    return _NAMED.sub(lambda found: known[found[1]], plain) if isinstance(plain, str) else plain
