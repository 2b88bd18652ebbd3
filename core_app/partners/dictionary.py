"""The field dictionary of the data standard, and whether a record keeps to it, field by field. Pure.

What was found is told by kind, never by value: a partner's JSON is about people.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from core_app.errors import FieldProblem
from core_app.products.parameters.shapes import Group, InTwoLanguages, Line, Name

_NAME = re.compile(r"[a-z][a-z_]{0,63}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Code(Group):
    """One value of a code list."""

    code: Name
    name: InTwoLanguages


class FieldRow(Group):
    """One field: its dotted path in the record, names, type with unit or bounds or codes, and its source."""

    path: Annotated[str, Field(pattern=r"^[a-z][a-z_]*(\.[a-z][a-z_]*)*$")]
    name: InTwoLanguages
    type: Literal["text", "integer", "date", "code"]
    unit: Line | None = None
    pattern: Line | None = None
    least: int | None = None
    most: int | None = None
    codes: tuple[Code, ...] = ()
    mandatory: bool
    source: Line
    text: Line

    @model_validator(mode="after")
    def _check_type(self) -> "FieldRow":
        has = {
            "text": self.pattern is not None,
            "integer": None not in (self.unit, self.least, self.most),
            "code": bool(self.codes),
        }
        if {kind for kind, there in has.items() if there} != {self.type} & set(has):
            raise ValueError("a text has a pattern, an integer unit and bounds, a code a list; a date none")
        return self

    def find_fault(self, value: object) -> tuple[str, str] | None:
        """Return what was found and what is needed if the value does not fit the row."""
        match self.type:
            case "text":
                fits = isinstance(value, str) and re.fullmatch(self.pattern or "", value) is not None
                needed = f"a text like {self.pattern}"
            case "integer":
                whole = isinstance(value, int) and not isinstance(value, bool)
                fits = whole and (self.least or 0) <= value <= (self.most or 0)  # type: ignore[operator]
                needed = f"an integer of {self.unit} from {self.least} to {self.most}"
            case "date":
                fits, needed = _is_date(value), "a day as YYYY-MM-DD"
            case "code":
                allowed = [code.code for code in self.codes]
                fits, needed = value in allowed, f"one of: {', '.join(allowed)}"
        return None if fits else (_kind_of(value), needed)


class Record(Group):
    """What is sent at once, and the request that takes it."""

    id: Name
    taken_by: Annotated[str, Field(pattern=r"^POST /v1/[a-z-]+$")]
    name: InTwoLanguages
    fields: Annotated[tuple[FieldRow, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_paths(self) -> "Record":
        paths = [row.path for row in self.fields]
        for path in paths:
            if paths.count(path) > 1 or any(other.startswith(f"{path}.") for other in paths):
                raise ValueError(f"fields: {path} stands twice, or is a group too")
        return self


class Dictionary(Group):
    """The data standard in one version."""

    standard: Annotated[int, Field(ge=1, strict=True)]
    first_day: dt.date = Field(alias="from")
    records: Annotated[tuple[Record, ...], Field(min_length=1)]

    def find(self, record: str) -> Record | None:
        """Return a record by its id."""
        return next((one for one in self.records if one.id == record), None)


DICTIONARY = TypeAdapter(Dictionary)


def find_faults(record: Record, data: Mapping[str, Any], root: str = "body.data") -> tuple[FieldProblem, ...]:
    """Return every field of `data` that does not keep to the record, each by its path below `root`."""
    return tuple(_find(record, data, root))


def _find(record: Record, data: Mapping[str, Any], root: str) -> Iterator[FieldProblem]:
    groups = {path for row in record.fields for path in _groups_of(row.path)}
    sent = dict(_leaves(data, groups))
    for row in record.fields:
        path = f"{root}.{row.path}"
        if row.path not in sent:
            if row.mandatory:
                yield FieldProblem(path, "nothing", f"{row.name.zh} {row.name.en}")
        elif (fault := row.find_fault(sent.pop(row.path))) is not None:
            yield FieldProblem(path, *fault)
    for path in sent:
        needed = "a group of fields" if path in groups else "nothing: the standard does not have it"
        yield FieldProblem(f"{root}.{path}", _kind_of(sent[path]), needed)


def _groups_of(path: str) -> Iterator[str]:
    parts = path.split(".")[:-1]
    yield from (".".join(parts[: number + 1]) for number in range(len(parts)))


def _leaves(data: Mapping[str, Any], groups: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what stands in a record by dotted path; only groups of the standard are walked into.

    A name that no field could have is told as `*`: it might be somebody's number.
    """
    for name, value in data.items():
        path = f"{prefix}{name}" if _NAME.fullmatch(name) else f"{prefix}*"
        if path in groups and isinstance(value, Mapping):
            yield from _leaves(value, groups, f"{path}.")
        else:
            yield path, value


def _is_date(value: object) -> bool:
    if not isinstance(value, str) or _DATE.fullmatch(value) is None:
        return False
    try:
        dt.date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "another number"
        case str():
            return "another text"
        case _:
            return "a group or a list"
