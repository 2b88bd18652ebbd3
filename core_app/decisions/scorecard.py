"""Scorecards: documents that turn inputs into points, with reasons. Pure.

A card is a logistic regression on clipped, standardised inputs; a missing input has its own weight.
`log_odds` are those of a default, so more is worse; points fall as they rise.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from core_app.decisions.policy import ModelId
from core_app.products.parameters.shapes import Group, Line

Inputs = Mapping[str, int | float | Decimal | None]


class Term(Group):
    """One input: clipped to `least`..`most`, standardised by `mean` and `scale`, times `weight`."""

    input: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{1,63}$")]
    least: float
    most: float
    mean: float
    scale: Annotated[float, Field(gt=0)]
    weight: float
    missing_weight: float


class Measured(Group):
    """What the training measured on data that the card was not fitted to."""

    ks: float
    auc: float
    rows: int


class Scorecard(Group):
    """One version of one model, as its document says."""

    id: ModelId
    version: Annotated[int, Field(ge=1)]
    valid_from: dt.date
    kind: Line
    trained_on: Line
    intercept: float
    terms: Annotated[tuple[Term, ...], Field(min_length=1)]
    points_offset: float
    points_per_log_odd: Annotated[float, Field(gt=0)]
    measured: Measured


@dataclass(frozen=True, slots=True)
class Score:
    """What a card says: log odds of a default, points, and the inputs that cost most, worst first."""

    log_odds: float
    points: int
    worst: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A scorecard and the SM3 of its canonical document."""

    card: Scorecard
    sm3: bytes


@dataclass(frozen=True, slots=True)
class Models:
    """The models in force on a day."""

    subs: tuple[Model, ...]
    main: Model
    challenger: Model | None


MIN_POINTS, MAX_POINTS = 300, 900
_WORST_SHOWN = 3


def contribution(term: Term, value: float | Decimal | int | None) -> float:
    """Return what an input adds to the log odds."""
    if value is None:
        return term.missing_weight
    clipped = min(max(float(value), term.least), term.most)
    return term.weight * (clipped - term.mean) / term.scale


def compute_score(card: Scorecard, inputs: Inputs) -> Score:
    """Return the score; KeyError when an input is not among `inputs` at all (None is a missing value)."""
    parts = [(contribution(term, inputs[term.input]), term.input) for term in card.terms]
    log_odds = card.intercept + math.fsum(part for part, _ in parts)
    points = round(card.points_offset - card.points_per_log_odd * log_odds)
    worst = tuple(name for part, name in sorted(parts, reverse=True)[:_WORST_SHOWN] if part > 0)
    return Score(log_odds, min(max(points, MIN_POINTS), MAX_POINTS), worst)


def sub_input(card_id: str) -> str:
    """Return the name under which a main model finds the log odds of a sub-model."""
    return f"sub.{card_id}"


def list_variables(cards: Sequence[Scorecard]) -> tuple[str, ...]:
    """Return the registry's variables that the cards need: inputs named `var.<name>`."""
    names = {term.input for card in cards for term in card.terms if term.input.startswith("var.")}
    return tuple(sorted(name.removeprefix("var.") for name in names))


def show_score(card: Scorecard, sm3: bytes, score: Score) -> dict[str, Any]:
    """Return what is stored of a score: the model's version and hash, log odds, points, worst inputs."""
    return {
        "model": card.id,
        "version": card.version,
        "sm3": sm3.hex(),
        "log_odds": round(score.log_odds, 6),
        "points": score.points,
        "worst": list(score.worst),
    }
