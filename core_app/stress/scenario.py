"""What a scenario and a statement of finance may say. Pure: the files are read elsewhere."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Exact, Group, InTwoLanguages, Line, PositiveFen, Share, told

_READER = "core_app.stress.shock"
_CASH = "core_app.stress.runoff"
ProductId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")]
Region = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
NotNegative = Annotated[int, Field(strict=True, ge=0)]


def _need_day(value: object) -> object:
    if isinstance(value, dt.datetime) or not isinstance(value, (str, dt.date)):
        raise ValueError("needs a day, such as 2026-11-30")
    return value


Day = Annotated[dt.date, BeforeValidator(_need_day)]


class Defaults(Group):
    """So much of a class, everywhere or at some products or provinces, falls into a worse one at once."""

    of: Literal["normal", "special_mention"] = told(_READER, "The class it falls from.")
    share: Share = told(_READER, 'Share of its balance: "0.05".')
    to: Literal["substandard", "doubtful", "loss"] = told(_READER, "The class it falls into.")
    products: tuple[ProductId, ...] = told(_READER, "At these products; none: all.", ())
    regions: tuple[Region, ...] = told(_READER, "In these provinces; none: all.", ())


class Funding(Group):
    """What those who fund us do; amounts and days are finance's to state."""

    not_renewed: Share = told(
        _CASH, "Share of what falls due that has to be repaid and is not renewed.", Decimal(0)
    )
    dearer_annual: Exact = told(_CASH, 'What our own funding costs more, simple a year: "0.02".', Decimal(0))


class Scenario(Group):
    """One scenario; a changed one needs a higher version."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")] = told(_READER, "Id.")
    version: Annotated[int, Field(ge=1, le=10_000, strict=True)] = told(_READER, "Version, rising.")
    name: InTwoLanguages
    first_day: Day = Field(alias="from", description="First day on which it is to be used.")
    source: Line = told(_READER, "Where the shocks come from, or that they are our choice.")
    horizon_days: Annotated[int, Field(strict=True, ge=30, le=1080)] = told(
        _CASH, "Days of run-off shown.", 360
    )
    defaults: tuple[Defaults, ...] = told(_READER, "What falls into worse classes, one after the other.", ())
    prepaid_per_30_days: Share = told(
        _CASH, "Share of what is not due yet, prepaid every 30 days.", Decimal(0)
    )
    commitments_drawn: Share = told(_CASH, "Share of signed contracts drawn within 30 days.", Decimal(0))
    funding: Funding = Funding()


class Due(Group):
    """Funding of our own that falls due on a day."""

    on: Day = told(_CASH, "Day it falls due.")
    fen: PositiveFen = told(_CASH, "How much, in fen.")


class Finance(Group):
    """Figures that are not in the core's books, as finance states them; missing ones stay unknown."""

    as_of: Day = told(_READER, "Evening they are of.")
    stated_by: Annotated[str, Field(min_length=2)] = told(_READER, "Who says so.")
    document: Annotated[str, Field(min_length=3)] = told(_READER, "Where it is written.")
    cash_fen: NotNegative | None = told(_CASH, "Cash and what is cash tomorrow, in fen.", None)
    other_assets_fen: NotNegative | None = told(_READER, "Assets besides loans, receivables and cash.", None)
    tier1_capital_fen: NotNegative | None = told(_READER, "Net tier-1 capital.", None)
    net_capital_fen: NotNegative | None = told(_READER, "Net capital.", None)
    interbank_fen: NotNegative | None = told(_READER, "Borrowed from banks.", None)
    funding: tuple[Due, ...] | None = told(_CASH, "Everything borrowed, by the day it falls due.", None)

    @model_validator(mode="after")
    def _check_capital(self) -> "Finance":
        less, more = self.tier1_capital_fen, self.net_capital_fen
        if less is not None and more is not None and less > more:
            raise ValueError("tier1_capital_fen is part of net_capital_fen and lies above it")
        return self


SCENARIO: TypeAdapter[Scenario] = TypeAdapter(Scenario)
FINANCE: TypeAdapter[Finance] = TypeAdapter(Finance)
NO_SHOCK = Scenario.model_validate(
    {
        "id": "no-shock", "version": 1, "name": {"zh": "无冲击", "en": "No shock"}, "from": "2024-04-18",
        "source": "the books as they are",
    }
)  # fmt: skip


def check_use(scenario: Scenario, finance: Finance | None, day: dt.date) -> None:
    """Raise DocumentInvalid unless both are of `day`: figures of another evening would be compared."""
    if day < scenario.first_day:
        raise DocumentInvalid(
            f"from: {scenario.id} is used from {scenario.first_day} on, the evening is {day}"
        )
    if finance is not None and finance.as_of != day:
        raise DocumentInvalid(f"as_of: finance states {finance.as_of}, needs the evening, {day}")


def make_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a scenario file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCENARIO.json_schema()}
