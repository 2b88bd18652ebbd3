"""What a product document may say: more than a hundred parameters in groups. Pure.

The groups stand in `parameters/`; checks between fields in `check.py`, of the law in `core_app.rules`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core_app.products.parameters import conduct, reach, terms
from core_app.products.parameters.shapes import Group


class Product(Group):
    """One version of one product, as its document says."""

    identity: terms.Identity
    pricing: terms.Pricing
    amount: terms.Amount
    tenor: terms.Tenor
    schedule: terms.ScheduleRule
    prepayment: terms.Prepayment
    penalty: terms.PenaltyRule
    allocation: terms.AllocationRule
    limits: reach.Limits
    eligibility: reach.Eligibility
    funding: reach.Funding
    channels: reach.Channels
    risk: reach.Risk
    accounting: reach.Accounting
    disclosures: conduct.Disclosures
    notices: conduct.Notices
    collection: conduct.Collection
    documents: conduct.Documents
    reporting: conduct.Reporting
    servicing: conduct.Servicing

    @property
    def id(self) -> str:
        """Return the product's id."""
        return self.identity.id

    @property
    def version(self) -> int:
        """Return the version of the document."""
        return self.identity.version

    @property
    def reference(self) -> str:
        """Return id and version: `instalment-12 v1`."""
        return f"{self.identity.id} v{self.identity.version}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One leaf of a document: its dotted path (`[]` marks a list of groups), meaning and reader."""

    path: str
    text: str
    read_by: str
    required: bool


def list_parameters(group: type[BaseModel] = Product, prefix: str = "") -> Iterator[Parameter]:
    """Yield every parameter of a document, in the order of the groups."""
    for name, field in group.model_fields.items():
        inner = _group_of(field.annotation)
        if inner is None:
            yield _parameter(prefix + name, field)
        else:
            mark = "[]." if field.annotation is not inner and _is_list(field.annotation) else "."
            yield from list_parameters(inner, prefix + name + mark)


def _parameter(path: str, field: FieldInfo) -> Parameter:
    extra = field.json_schema_extra
    reader = str(extra["read_by"]) if isinstance(extra, dict) and "read_by" in extra else ""
    return Parameter(path, field.description or "", reader, field.is_required())


def _group_of(annotation: Any) -> type[Group] | None:
    """Return the group inside a field's type: the group itself, an optional one, or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Group):
        return annotation
    found = [_group_of(part) for part in getattr(annotation, "__args__", ())]
    return next((group for group in found if group is not None), None)


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple


def make_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a product document, for editors and other checkers."""
    schema = Product.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
