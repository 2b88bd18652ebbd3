"""Score an applicant by the models in force. Pure.

The sub-models score the request, the history with us and the bureau's report; the main model weighs
their log odds. The challenger sees the same and is stored beside: it never decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core_app.decisions.bureau_report import BureauReport
from core_app.decisions.scorecard import Inputs, Models, Score, compute_score, show_score, sub_input
from core_app.decisions.variables.definition import Value
from core_app.products.model import Product


@dataclass(frozen=True, slots=True)
class Scored:
    """The main score, and everything that is stored of how it came about."""

    main: Score
    shown: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PartnerScore:
    """What a partner bank's own model says of the applicant: whose, by which version of it, the score."""

    partner: str
    version: str
    score: int


@dataclass(frozen=True, slots=True)
class Brought:
    """What came with the application: amount in fen, periods, a partner's score if one did."""

    amount_fen: int
    periods: int
    partner: PartnerScore | None = None


def find_inputs(
    product: Product, brought: Brought, variables: Mapping[str, Value], report: BureauReport | None
) -> dict[str, Any]:
    """Return the inputs by name; None is a missing value."""
    inputs: dict[str, Any] = {
        "request.amount_share": brought.amount_fen / product.limits.customer_fen,
        "request.periods": brought.periods,
        "partner.score": brought.partner.score if brought.partner else None,
        **{f"var.{name}": value for name, value in variables.items()},
    }
    for name in BureauReport.model_fields:
        inputs[f"bureau.{name}"] = getattr(report, name) if report is not None else None
    return inputs


def score_applicant(models: Models, inputs: Inputs) -> Scored:
    """Return the main score with sub-scores and challenger; the same inputs give the same score."""
    over = dict(inputs)
    shown: dict[str, Any] = {"subs": []}
    for sub in models.subs:
        score = compute_score(sub.card, inputs)
        over[sub_input(sub.card.id)] = score.log_odds
        shown["subs"].append(show_score(sub.card, sub.sm3, score))
    main = compute_score(models.main.card, over)
    shown["main"] = show_score(models.main.card, models.main.sm3, main)
    if models.challenger is not None:
        card = models.challenger.card
        shown["challenger"] = show_score(card, models.challenger.sm3, compute_score(card, over))
    shown["inputs"] = {name: _plain(value) for name, value in inputs.items()}
    return Scored(main, shown)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)
