"""Request bodies and answers about who a customer is, what may be asked, and what is on offer. Pure."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core_app.api.bodies import REQUEST, AmountFen, Purpose, ReasonAnswer, Reference, Text

_CUSTOMER: Any = {"customer_id": "C0123456789abcdef01234567"}


class IdentityCheckRequest(BaseModel):
    """Whose identity is to be checked again, as far as it is not passed."""

    model_config = REQUEST | ConfigDict(json_schema_extra={"examples": [_CUSTOMER]})
    customer_id: Text = Field(description="As answered by POST /v1/customers.")


class IdentityCheckAnswer(BaseModel):
    """What holds now of every check that a product on sale needs."""

    customer_id: str
    on: str = Field(examples=["2026-01-15"])
    checks: dict[str, str] = Field(examples=[{"police_match": "passed", "face_liveness": "failed"}])


class CardRequest(BaseModel):
    """A person to register by the picture of an ID card that was brought to the reader of documents."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"image": "img-0001", "phone": "13800138000"}]}
    )
    image: Reference = Field(description="The picture's number at the reader; never the picture.")
    phone: Text = Field(description="Mainland mobile number, with or without +86.")


class ConsentRequest(BaseModel):
    """A customer's agreement that an outside source is asked, or its end."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [_CUSTOMER | {"source": "utilities", "granted": True, "reference": "consent-0001"}]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    source: Purpose = Field(description="A source with a consent of its own.")
    granted: bool = Field(description="False withdraws it; what was fetched is deleted.")
    reference: Reference = Field(description="Number of the paper that was agreed to.")


class ConsentAnswer(BaseModel):
    """A consent as it is kept."""

    customer_id: str
    source: str
    granted: bool
    reference: str
    given_on: str


class OffersRequest(BaseModel):
    """A loan that is wished for, at no product in particular."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [_CUSTOMER | {"amount_fen": 1200000, "periods": 12}]}
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    amount_fen: AmountFen
    periods: int = Field(gt=0, le=60, description="Months.")
    purpose: Purpose | None = Field(default=None, description="Use of the money.")
    channel: Purpose | None = Field(default=None, description="Entrance the customer stands at.")


class TitleAnswer(BaseModel):
    """A product's name in two languages."""

    zh: str
    en: str


class WhyAnswer(BaseModel):
    """What put an offer at its place: the measure, its value, its place among the different values."""

    by: str = Field(examples=["annual_cost_simple"])
    value: int | str
    place: int | None = None
    of: int | None = None


class OfferAnswer(BaseModel):
    """A product that fits the wish; `missing` is the evidence of identity that it still needs."""

    product: str
    product_version: int
    title: TitleAnswer
    rank: int
    annual_cost_simple: str = Field(examples=["0.18"])
    room_fen: int
    missing: list[str]
    why: list[WhyAnswer]


class NotOfferedAnswer(BaseModel):
    """A product that does not fit, with every reason."""

    product: str
    product_version: int
    title: TitleAnswer
    reasons: list[ReasonAnswer]


class OffersAnswer(BaseModel):
    """Every product on sale: what fits, best first, and what does not. An application decides."""

    customer_id: str
    on: str
    offers: list[OfferAnswer]
    not_offered: list[NotOfferedAnswer]


class ReviewRequest(BaseModel):
    """The limit that is to be looked at by the limit-increase model."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [_CUSTOMER | {"product": "revolving-anytime"}]}
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    product: Text = Field(description="Id of a product on offer.")


class ReviewAnswer(BaseModel):
    """How much more a customer may owe in a product, until when; 0 with the reasons."""

    customer_id: str
    product: str
    granted_fen: int
    valid_from: str
    valid_to: str | None
    reasons: list[ReasonAnswer]
    facts: dict[str, Any] = Field(description="Model, versions, inputs and points it rests on.")


class ProductAnswer(BaseModel):
    """A product on sale: its bounds, its application form and its flow."""

    product: str
    product_version: int
    title: TitleAnswer
    rate_annual: str = Field(examples=["0.18"])
    prices: list[dict[str, Any]] = Field(
        description="The price grid: the rate of each segment and term that has one of its own.",
        examples=[[{"segment": "returning", "periods": 12, "rate_annual": "0.16"}]],
    )
    min_fen: int
    max_fen: int
    periods: list[int]
    purposes: list[str]
    form: dict[str, Any] | None = Field(
        examples=[{"id": "personal_short", "needs": [], "takes": ["purpose"]}]
    )
    flow: dict[str, Any] | None = Field(examples=[{"id": "apply_decide_sign_draw", "steps": []}])


class ProductsAnswer(BaseModel):
    """Every product on sale."""

    on: str
    products: list[ProductAnswer]
