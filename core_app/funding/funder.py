"""What a funder's document may say. Pure: the rows are read elsewhere."""

from typing import Annotated

from pydantic import Field, model_validator

from core_app.products.parameters.shapes import (
    Count,
    Exact,
    Group,
    InTwoLanguages,
    Names,
    PositiveFen,
    Share,
    SomeNames,
    told,
)

_ROUTE = "core_app.funding.route"
ProductId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")]


class Quota(Group):
    """How much a funder funds over all cells; absent: no such limit. At least one is needed."""

    total_fen: PositiveFen | None = told(
        _ROUTE,
        "Principal outstanding at once, in fen; what is repaid comes back with the day's settlement.",
        None,
    )
    day_fen: PositiveFen | None = told(_ROUTE, "Principal paid out in one business day, in fen.", None)

    @model_validator(mode="after")
    def _check_some(self) -> "Quota":
        if self.total_fen is None and self.day_fen is None:
            raise ValueError("needs total_fen, day_fen or both: a partner without any limit is a mistake")
        return self


class Funder(Group):
    """One version of a partner's terms; a published version never changes."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,39}$")] = told(_ROUTE, "Id; `own` is the company.")
    version: Annotated[int, Field(ge=1, le=10_000, strict=True)] = told(_ROUTE, "Version, rising.")
    name: InTwoLanguages
    fills: SomeNames = told(_ROUTE, "Parties of products (`funding.parties[].funder`) it may stand for.")
    cost_annual: Exact = told(_ROUTE, 'What its money costs us, simple a year: "0.045".')
    speed_s: Count = told(_ROUTE, "Seconds until its money is there.")
    per_loan_max_fen: PositiveFen = told(_ROUTE, "Most it funds of one loan, in fen.")
    share_min: Share = told(_ROUTE, "Least share of a loan that it takes.")
    share_max: Share = told(_ROUTE, "Greatest share of a loan that it takes.")
    products: tuple[ProductId, ...] = told(_ROUTE, "Products it funds; none: all.", ())
    regions: Names = told(_ROUTE, "Regions it funds; none: all.", ())
    quota: Quota

    @model_validator(mode="after")
    def _check_fields(self) -> "Funder":
        if self.id == "own":
            raise ValueError("id: own is the company itself and needs no document")
        if self.share_min > self.share_max:
            raise ValueError("share_min lies above share_max")
        return self

    @property
    def reference(self) -> str:
        """Return id and version: `bank_east v1`."""
        return f"{self.id} v{self.version}"
