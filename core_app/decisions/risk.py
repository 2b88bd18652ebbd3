"""The documents that decisions rest on, read and checked once a process: policy, variables, scorecards."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from core_app.decisions.policy import Policy
from core_app.decisions.scorecard import Model, Models, Scorecard, list_variables, sub_input
from core_app.decisions.sources import Sources
from core_app.decisions.variables.compile import Statement, compile_online
from core_app.decisions.variables.definition import Registry, make_registry
from core_app.documents import make_canonical
from core_app.errors import DocumentInvalid
from core_app.products.references import read_sources
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent / "documents"
_POLICY = TypeAdapter(Policy)
_CARD = TypeAdapter(Scorecard)
_DEFINITIONS: TypeAdapter[Iterable[Mapping[str, Any]]] = TypeAdapter(list[dict[str, Any]])
REQUEST_INPUTS = frozenset({"request.amount_share", "request.periods", "partner.score"})
_INCREASE_VARIABLES = ("days_known", "arrears_or_ahead_fen")
"""What the rules of an increase ask for beside its model."""
BUREAU_INPUTS = frozenset(
    {"bureau.score", "bureau.open_accounts", "bureau.overdue_12m", "bureau.inquiries_90d"}
)


@dataclass(frozen=True, slots=True)
class Risk:
    """Policy, registries of variables and sources, and all versions of all scorecards."""

    policy: Policy
    registry: Registry
    versions: tuple[Model, ...]
    history: Statement = field(repr=False)
    """The statement that reads every variable the cards need, of one customer."""
    variables: tuple[str, ...]
    sources: Sources
    named: frozenset[str]
    """Every input that a card names."""
    increase: Statement = field(repr=False)
    increase_variables: tuple[str, ...]
    """What a limit increase is judged by, of one customer."""

    def models_on(self, day: dt.date, deciding: Sequence[str] | None = None) -> Models:
        """Return the models in force on `day`; DocumentInvalid when one has no version yet.

        `deciding` is the pair of a strategy, the model that decides first: when they are the policy's
        challenger and main model, these change places; any other pair, of an older policy, changes nothing.
        """
        wanted = self.policy.models
        main, beside = wanted.main, wanted.challenger
        if beside is not None and deciding is not None and tuple(deciding) == (beside, main):
            main, beside = beside, main
        return Models(
            tuple(self.find_model(one, day) for one in wanted.subs),
            self.find_model(main, day),
            self.find_model(beside, day) if beside else None,
        )

    def find_model(self, model_id: str, day: dt.date) -> Model:
        """Return a model's newest version in force on `day`; DocumentInvalid when there is none."""
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
    return make_risk(policy, registry, cards, read_sources(folder / "sources.yaml"))


def make_risk(policy: Policy, registry: Registry, cards: list[Scorecard], sources: Sources) -> Risk:
    """Return the documents as one; DocumentInvalid when a card needs an input that there is none of."""
    subs = {sub_input(one) for one in policy.models.subs}
    for card in cards:
        for term in card.terms:
            known = REQUEST_INPUTS | BUREAU_INPUTS | sources.inputs
            known |= subs if card.id in (policy.models.main, policy.models.challenger) else set()
            if term.input not in known and not term.input.startswith("var."):
                raise DocumentInvalid(f"model {card.id} v{card.version}: no input {term.input}")
    named = frozenset(term.input for card in cards for term in card.terms)
    variables = list_variables(cards)
    registry.resolve(variables)
    raising = [card for card in cards if card.id == policy.increase.model]
    increase = tuple(sorted({*list_variables(raising), *_INCREASE_VARIABLES}))
    versions = tuple(Model(card, make_canonical(card.model_dump(mode="json")).sm3) for card in cards)
    return Risk(
        policy,
        registry,
        versions,
        compile_online(registry, variables),
        variables,
        sources,
        named,
        compile_online(registry, increase),
        increase,
    )
