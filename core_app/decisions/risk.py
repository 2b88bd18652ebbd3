"""The documents that decisions rest on, read and checked once a process: policy, variables, scorecards."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from core_app.decisions.policy import Policy
from core_app.decisions.scorecard import Model, Models, Scorecard, list_variables, sub_input
from core_app.decisions.variables.compile import Statement, compile_online
from core_app.decisions.variables.definition import Registry, make_registry
from core_app.documents import make_canonical
from core_app.errors import DocumentInvalid
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent / "documents"
_POLICY = TypeAdapter(Policy)
_CARD = TypeAdapter(Scorecard)
_DEFINITIONS: TypeAdapter[Iterable[Mapping[str, Any]]] = TypeAdapter(list[dict[str, Any]])
REQUEST_INPUTS = frozenset({"request.amount_share", "request.periods", "partner.score"})
BUREAU_INPUTS = frozenset(
    {"bureau.score", "bureau.open_accounts", "bureau.overdue_12m", "bureau.inquiries_90d"}
)


@dataclass(frozen=True, slots=True)
class Risk:
    """Policy, registry and all versions of all scorecards."""

    policy: Policy
    registry: Registry
    versions: tuple[Model, ...]
    history: Statement = field(repr=False)
    """The statement that reads every variable the cards need, of one customer."""
    variables: tuple[str, ...]

    def models_on(self, day: dt.date) -> Models:
        """Return the models in force on `day`; DocumentInvalid when one has no version yet."""
        wanted = self.policy.models
        challenger = self._find(wanted.challenger, day) if wanted.challenger else None
        return Models(
            tuple(self._find(one, day) for one in wanted.subs), self._find(wanted.main, day), challenger
        )

    def _find(self, model_id: str, day: dt.date) -> Model:
        held = [m for m in self.versions if m.card.id == model_id and m.card.valid_from <= day]
        if not held:
            raise DocumentInvalid(f"model {model_id}: no version in force on {day}")
        return max(held, key=lambda model: model.card.version)


@cache
def read_risk(folder: Path = FOLDER) -> Risk:
    """Return the documents of `folder`; DocumentInvalid names file and field of a bad one."""
    policy = parse_yaml("policy.yaml", read_text(folder / "policy.yaml"), _POLICY)
    registry = make_registry(parse_yaml("variables.yaml", read_text(folder / "variables.yaml"), _DEFINITIONS))
    cards = [
        parse_yaml(file.name, read_text(file), _CARD) for file in sorted((folder / "models").glob("*.json"))
    ]
    return make_risk(policy, registry, cards)


def make_risk(policy: Policy, registry: Registry, cards: list[Scorecard]) -> Risk:
    """Return the documents as one; DocumentInvalid when a card needs an input that there is none of."""
    subs = {sub_input(one) for one in policy.models.subs}
    for card in cards:
        for term in card.terms:
            known = REQUEST_INPUTS | BUREAU_INPUTS | (subs if card.id == policy.models.main else set())
            if term.input not in known and not term.input.startswith("var."):
                raise DocumentInvalid(f"model {card.id} v{card.version}: no input {term.input}")
    variables = list_variables(cards)
    registry.resolve(variables)
    versions = tuple(Model(card, make_canonical(card.model_dump(mode="json")).sm3) for card in cards)
    return Risk(policy, registry, versions, compile_online(registry, variables), variables)
