"""Application forms and flows that products refer to, and whether a product fits them. Pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core_app.products.model import Product
from core_app.products.parameters.shapes import Group, Line, Name

FormField = Literal[
    "purpose",
    "channel",
    "region",
    "bureau_authorisation",
    "partner_score",
    "evidence",
    "monthly_income_fen",
]


class Form(Group):
    """What an application has to say and may say, beyond customer, product, amount and periods."""

    id: Name
    text: Line
    needs: tuple[FormField, ...]
    takes: tuple[FormField, ...]

    def find_faults(self, given: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """Yield field, what was found and what is needed, of every field that does not fit the form."""
        for name in self.needs:
            if name not in given:
                yield name, "nothing", f"a value, which the form {self.id} asks for"
        for other in sorted(set(given) - {*self.needs, *self.takes}):
            yield other, "a value", f"nothing, the form {self.id} does not have it"


class FlowStep(Group):
    """One step: what it is, by which request (none: the core does it), after which others, once or often."""

    step: Name
    by: Annotated[str, Field(pattern=r"^POST /v1/[a-z-]+$")] | None = None
    after: tuple[Name, ...]
    often: bool = False


class Flow(Group):
    """A graph of steps from the first to the last."""

    id: Name
    text: Line
    steps: Annotated[tuple[FlowStep, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_graph(self) -> "Flow":
        known: set[str] = set()
        for step in self.steps:
            if missing := set(step.after) - known:
                raise ValueError(
                    f"step {step.step}: after {', '.join(sorted(missing))}, which is not before it"
                )
            if step.step in known:
                raise ValueError(f"step {step.step}: stands twice")
            known.add(step.step)
        return self

    def has(self, step: str) -> bool:
        """Say whether the flow has a step of that name."""
        return any(one.step == step for one in self.steps)


class Referred(Group):
    """Everything that products may refer to."""

    forms: tuple[Form, ...]
    flows: tuple[Flow, ...]


@dataclass(frozen=True, slots=True)
class Papers:
    """Forms and flows by id."""

    forms: Mapping[str, Form]
    flows: Mapping[str, Flow]

    def find_faults(self, product: Product) -> tuple[str, ...]:
        """Return what is wrong with the form and the flow that a product names, each with its path."""
        return tuple(self._find(product))

    def _find(self, product: Product) -> Iterator[str]:
        named = product.documents
        if named.application_form not in self.forms:
            yield _unknown("documents.application_form", named.application_form, self.forms)
        flow = self.flows.get(named.flow)
        if flow is None:
            yield _unknown("documents.flow", named.flow, self.flows)
            return
        merchant = product.channels.pay_out_to == "merchant"
        line = product.limits.revolving and product.schedule.method == "anytime"
        for step, wanted, why in (
            ("pay_merchant", merchant, "channels.pay_out_to: merchant"),
            ("open_line", line, "a line (limits.revolving, schedule.method: anytime)"),
            ("pay_bill", product.reporting.merge_bills, "reporting.merge_bills: true"),
        ):
            if flow.has(step) != wanted:
                yield f"documents.flow: {flow.id}, a step {step} is there with {why} and only then"

    def show(self, product: Product) -> dict[str, Any]:
        """Return a product's form and flow as a client reads them, None for one that is no more."""
        form = self.forms.get(product.documents.application_form)
        flow = self.flows.get(product.documents.flow)
        return {
            "form": form.model_dump(mode="json") if form else None,
            "flow": flow.model_dump(mode="json") if flow else None,
        }


def make_papers(referred: Referred) -> Papers:
    """Return forms and flows by id; ValueError when an id stands twice."""
    forms = {form.id: form for form in referred.forms}
    flows = {flow.id: flow for flow in referred.flows}
    if (len(forms), len(flows)) != (len(referred.forms), len(referred.flows)):
        raise ValueError("forms and flows: an id stands twice")
    return Papers(forms, flows)


def _unknown(path: str, found: str, known: Mapping[str, Any]) -> str:
    return f"{path}: {found}, needs one of: {', '.join(sorted(known))}"
