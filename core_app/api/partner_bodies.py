"""Bodies and answers of what partner banks ask and send. Pure."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core_app.api.bodies import REQUEST, FieldProblemAnswer, Purpose, Text

_SCORE: dict[str, Any] = {
    "partner": "bank_east",
    "model": {"kind": "credit", "version": "base-3.1", "score": 655, "scored_on": "2026-11-20"},
}


class DataCheckRequest(BaseModel):
    """A record to be checked against the data standard."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"record": "partner_score", "data": _SCORE}]}
    )
    record: Purpose = Field(description="Id of a record of GET /v1/data-standard.")
    data: dict[str, Any] = Field(description="The record as it would be sent.")


class PartnerScoreRecordRequest(BaseModel):
    """A partner's score of a customer, by the record `partner_score` of the data standard."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"customer_id": "C0123456789abcdef01234567", "data": _SCORE}]}
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    data: dict[str, Any] = Field(description="Checked field by field; each fault is named by its path.")


class DataCheckAnswer(BaseModel):
    """Whether a record keeps to the standard, and every field that does not."""

    record: str
    standard: int
    keeps: bool
    faults: list[FieldProblemAnswer]


class PartnerScoreAnswer(BaseModel):
    """A score as it was kept; variables see it from the next business day on."""

    customer_id: str
    partner: str
    kind: str
    version: str
    score: int
    standard: int
    scored_on: str
    received_on: str


class DataStandardAnswer(BaseModel):
    """The data standard: each field with its names, type, unit, codes, whether it is mandatory, source."""

    standard: int
    first_day: str = Field(examples=["2026-01-01"])
    records: list[dict[str, Any]] = Field(
        examples=[[{"id": "partner_score", "taken_by": "POST /v1/partner-scores", "fields": []}]]
    )
