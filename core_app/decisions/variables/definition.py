"""What a variable's definition may say, and the registry that finds what was asked for. Pure.

A definition is an aggregate over one of a closed set of sources, or a computation over other
variables. Definitions are checked when they are first asked for: a registry of a hundred thousand
costs its text, not its objects.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Count, Group, Line

VariableName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,63}$")]
Take = Literal[
    "count", "sum", "average", "least", "most", "distinct", "days_since_first", "days_since_last", "newest"
]
Scalar = Annotated[int, Field(strict=True)] | Annotated[str, Field(max_length=100)]


@dataclass(frozen=True, slots=True)
class Source:
    """A table of events: how it is read, whose an event is, its business date, its columns.

    Columns, and `stands`, may look at `a.day`, the day asked for: what was taken back or corrected on an
    earlier day counts as it was known then.
    """

    table: str
    customer: str
    day: str
    numbers: Mapping[str, str]
    names: Mapping[str, str]
    stands: str = "true"
    sequence: str = ""
    """What tells events of one day apart; empty where there is no newest one."""


def _as_corrected(component: str) -> str:
    """Return a part of a repayment as later reversals of other repayments left it."""
    corrections = (
        f"select sum(c.{component}) from core.corrections c"  # noqa: S608 - put together of constants
        " where c.repayment_id = s.repayment_id and c.corrected_on < a.day"
    )
    return f"(s.{component} + coalesce(({corrections}), 0))::bigint"


SOURCES: Mapping[str, Source] = {
    "applications": Source(
        "core.applications s",
        "s.customer_id",
        "s.decided_on",
        {"amount_fen": "s.amount_fen", "periods": "s.periods"},
        {"product": "s.product", "decision": "s.decision"},
    ),
    "contracts": Source(
        "core.contracts s",
        "s.customer_id",
        "s.signed_on",
        {"amount_fen": "s.amount_fen", "periods": "s.periods"},
        {"product": "s.product"},
    ),
    "loans": Source(
        "core.loans s",
        "s.customer_id",
        "s.drawn_on",
        {"principal_fen": "s.principal_fen", "interest_fen": "s.interest_fen"},
        {"product": "s.product"},
    ),
    "repayments": Source(
        "(core.loans l join core.repayments s on s.loan_id = l.loan_id)",
        "l.customer_id",
        "s.booked_on",
        {
            "amount_fen": "s.amount_fen",
            "principal_fen": _as_corrected("principal_fen"),
            "interest_fen": _as_corrected("interest_fen"),
            "penalty_fen": _as_corrected("penalty_fen"),
        },
        {"product": "l.product"},
        "not exists (select from core.reversals x"
        " where x.repayment_id = s.repayment_id and x.reversed_on < a.day)",
    ),
    "instalments": Source(
        "(core.loans l join core.instalments s on s.loan_id = l.loan_id)",
        "l.customer_id",
        "s.due",
        {"principal_fen": "s.principal_fen", "interest_fen": "s.interest_fen"},
        {"product": "l.product"},
        # By the plan that was known on the day before: a later version leaves the periods before its first.
        "(s.made_on is null or s.made_on < a.day) and (s.plan_version = l.plan_version"
        " or not exists (select from core.instalments n where n.loan_id = s.loan_id"
        " and n.plan_version > s.plan_version and n.period <= s.period and n.made_on < a.day))",
    ),
    "partner_scores": Source(
        "core.partner_scores s",
        "s.customer_id",
        "s.received_on",
        {"score": "s.score", "days_old": "(a.day - s.scored_on)"},
        {"partner": "s.partner", "model_kind": "s.model_kind", "model_version": "s.model_version"},
        sequence="s.score_id",
    ),
}
"""The events there are: rows that are never changed once written (a plan's instalments by their due date)."""


class Where(Group):
    """A condition on one column: one of these values, or a number within bounds."""

    column: VariableName
    one_of: tuple[Scalar, ...] = ()
    least: int | None = None
    most: int | None = None


class Aggregate(Group):
    """Taken over a source's events of the last `days` business-calendar days before the day asked for."""

    source: Literal["applications", "contracts", "loans", "repayments", "instalments", "partner_scores"]
    take: Take
    column: VariableName | None = None
    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    where: tuple[Where, ...] = ()

    @model_validator(mode="after")
    def _check_columns(self) -> "Aggregate":
        source = SOURCES[self.source]
        needs_column = self.take in {"sum", "average", "least", "most", "distinct", "newest"}
        if self.take == "newest" and not source.sequence:
            raise ValueError(f"take: newest, {self.source} has no order within a day")
        if needs_column != (self.column is not None):
            raise ValueError(f"take: {self.take} {'needs' if needs_column else 'has no'} column")
        known = {*source.numbers, *source.names} if self.take == "distinct" else {*source.numbers}
        if self.column is not None and self.column not in known:
            raise ValueError(
                f"column: {self.column}, {self.take} of {self.source} has {', '.join(sorted(known))}"
            )
        for where in self.where:
            self._check_where(source, where)
        return self

    @staticmethod
    def _check_where(source: Source, where: Where) -> None:
        bounded = where.least is not None or where.most is not None
        if bool(where.one_of) == bounded:
            raise ValueError(f"where.{where.column}: needs one_of, or least and most")
        if where.column in source.names:
            if bounded or not all(isinstance(value, str) for value in where.one_of):
                raise ValueError(f"where.{where.column}: a column of names, needs one_of texts")
        elif where.column not in source.numbers:
            raise ValueError(f"where.{where.column}: no such column")
        elif not all(isinstance(value, int) for value in where.one_of):
            raise ValueError(f"where.{where.column}: a column of numbers, needs integers")


class Compute(Group):
    """Computed of other variables; a missing part makes it missing, so does a division by zero."""

    take: Literal["add", "subtract", "multiply", "divide", "least_of", "most_of"]
    of: Annotated[tuple[VariableName, ...], Field(min_length=2, max_length=8)]

    @model_validator(mode="after")
    def _check_parts(self) -> "Compute":
        if self.take in {"subtract", "divide"} and len(self.of) != 2:
            raise ValueError(f"of: {len(self.of)} parts, {self.take} needs two")
        return self


class Variable(Group):
    """One version of a variable. `otherwise` is its value when there is none to be had."""

    name: VariableName
    version: Annotated[int, Field(ge=1)]
    text: Line
    aggregate: Aggregate | None = None
    compute: Compute | None = None
    otherwise: Count | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> "Variable":
        if (self.aggregate is None) == (self.compute is None):
            raise ValueError("needs aggregate or compute, one of them")
        return self


_VARIABLE: TypeAdapter[Variable] = TypeAdapter(Variable)
Value = int | Decimal | None


class RegistryInvalid(DocumentInvalid):
    """A definition cannot be used; the message names the variable and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Registry:
    """All definitions, as read; those that were asked for, checked."""

    plain: Mapping[str, Mapping[str, Any]]
    checked: dict[str, Variable] = field(default_factory=dict, repr=False)

    def find(self, name: str) -> Variable:
        """Return one definition, checked at its first use; RegistryInvalid when it cannot be used."""
        known = self.checked.get(name)
        if known is not None:
            return known
        if name not in self.plain:
            raise RegistryInvalid(f"variable {name}: not in the registry")
        try:
            variable = _VARIABLE.validate_python(self.plain[name])
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(map(str, first["loc"]))
            raise RegistryInvalid(f"variable {name}: {path or 'definition'}: {first['msg']}") from None
        self.checked[name] = variable
        return variable

    def resolve(self, names: Iterable[str]) -> tuple[Variable, ...]:
        """Return the variables asked for and all they are made of, parts before what needs them."""
        ordered: dict[str, Variable] = {}
        path: list[str] = []

        def visit(name: str) -> None:
            if name in ordered:
                return
            if name in path:
                raise RegistryInvalid(f"variable {name}: made of itself, by {' -> '.join((*path, name))}")
            path.append(name)
            variable = self.find(name)
            for part in variable.compute.of if variable.compute else ():
                visit(part)
            path.pop()
            ordered[name] = variable

        for name in names:
            visit(name)
        return tuple(ordered.values())


def make_registry(definitions: Iterable[Mapping[str, Any]]) -> Registry:
    """Return the registry of plain definitions; RegistryInvalid when a name stands twice."""
    plain: dict[str, Mapping[str, Any]] = {}
    for definition in definitions:
        name = str(definition.get("name"))
        if name in plain:
            raise RegistryInvalid(f"variable {name}: stands twice")
        plain[name] = definition
    return Registry(plain)
