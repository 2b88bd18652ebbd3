"""How a parameter of a product document is declared: its shape, its meaning, its reader. Pure."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from core_app.money import MAX_FEN


class Group(BaseModel):
    """A group of parameters: unknown names are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def told(read_by: str, text: str, default: Any = ...) -> Any:
    """Declare a parameter: the module that reads it, what it means with its unit, its default if any."""
    return Field(default, description=text, json_schema_extra={"read_by": read_by})


def _need_text(value: object) -> object:
    if not isinstance(value, (str, Decimal)):
        raise ValueError('needs a decimal in quotes, such as "0.18": a YAML number would be inexact')
    return value


def _need_distinct(names: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(names)) != len(names):
        raise ValueError("needs distinct values")
    return names


def _need_ascending(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if list(numbers) != sorted(set(numbers)):
        raise ValueError("needs ascending, distinct numbers")
    return numbers


Exact = Annotated[Decimal, BeforeValidator(_need_text), Field(ge=0, le=10, decimal_places=8)]
Share = Annotated[Decimal, BeforeValidator(_need_text), Field(ge=0, le=1, decimal_places=8)]
Fen = Annotated[int, Field(strict=True, ge=0, le=MAX_FEN)]
PositiveFen = Annotated[int, Field(strict=True, gt=0, le=MAX_FEN)]
Count = Annotated[int, Field(strict=True, ge=0, le=100_000)]
Hour = Annotated[int, Field(strict=True, ge=0, le=24)]
Months = Annotated[int, Field(strict=True, ge=1, le=60)]
Line = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,63}$")]
Names = Annotated[tuple[Name, ...], AfterValidator(_need_distinct)]
SomeNames = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_need_distinct)]
Ascending = Annotated[tuple[Count, ...], AfterValidator(_need_ascending)]
Periods = Annotated[tuple[Months, ...], Field(min_length=1), AfterValidator(_need_ascending)]


class InTwoLanguages(Group):
    """A text for borrowers and regulators, in Chinese and in English."""

    zh: Line = told("core_app.disclosure.cost_table", "Chinese text.")
    en: Line = told("core_app.disclosure.cost_table", "English text.")
