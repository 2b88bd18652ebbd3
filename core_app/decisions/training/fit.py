"""Fit scorecards by penalised logistic regression, and measure them on people they were not fitted to."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_app.decisions.scorecard import Measured, Scorecard, Term, sub_input
from core_app.decisions.training.synthetic import Floats, Population, make_population

SUBS = {
    "credit-application": (
        "request.amount_share", "request.periods", "var.applications_90d", "var.refused_90d",
    ),
    "credit-behaviour": ("var.loans_drawn", "var.arrears_share"),
    "credit-bureau": (
        "bureau.score", "bureau.overdue_12m", "bureau.inquiries_90d", "bureau.open_accounts",
    ),
}  # fmt: skip
INCREASE = ("var.loans_drawn", "var.arrears_share", "var.applications_90d", "var.refused_90d")
"""Inputs of the limit-increase model: what we know of customers who have a loan; nobody else is asked."""
RIDGE = 1.0
"""Penalty on each weight but the intercept. Source: our choice."""
_STEPS = 30
_CONVERGED = 1e-10
_OFFSET, _PER_LOG_ODD = 450.0, 60.0
"""Points at even odds and per log odd: 4 % of defaults are 641 points. Source: our choice."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A card and the log odds it gives to the whole population."""

    card: Scorecard
    log_odds: Floats


def train_cards(seed: int, rows: int, valid_from: dt.date) -> tuple[Scorecard, ...]:
    """Return sub-models, the main model over them, challenger and limit-increase; the same for the same seed.

    Fitted to the first half of the population, measured on the second.
    """
    people = make_population(seed, rows)
    about = f"synthetic population, seed {seed}, {rows // 2} rows; says nothing about real borrowers"
    subs = [
        fit_card(name, "credit sub-model", people, inputs, (about, valid_from))
        for name, inputs in SUBS.items()
    ]
    over = Population({sub_input(s.card.id): s.log_odds for s in subs}, people.defaulted)
    main = fit_card("credit-main", "credit main model", over, tuple(over.inputs), (about, valid_from))
    every = tuple(name for inputs in SUBS.values() for name in inputs)
    flat = fit_card("credit-challenger", "credit challenger", people, every, (about, valid_from))
    known = people.only(people.inputs["var.loans_drawn"] > 0)
    about = f"synthetic population, seed {seed}, {len(known.defaulted) // 2} rows of customers with a loan; "
    about += "says nothing about real borrowers"
    increase = fit_card("limit-increase", "limit-increase model", known, INCREASE, (about, valid_from))
    return (*(s.card for s in subs), main.card, flat.card, increase.card)


def fit_card(
    name: str, kind: str, people: Population, inputs: Sequence[str], about: tuple[str, dt.date]
) -> Fitted:
    """Return the card `name` of people by inputs, fitted to their first half and measured on the second.

    `about` says what it was trained on and from when it holds.
    """
    half = len(people.defaulted) // 2
    shapes, columns = [], []
    for one in inputs:
        values = people.inputs[one]
        seen = values[:half][~np.isnan(values[:half])]
        least, most = np.round(np.quantile(seen, (0.005, 0.995)), 4)
        clipped = np.clip(values, least, most)
        known = clipped[:half][~np.isnan(clipped[:half])]
        mean, scale = round(float(known.mean()), 6), round(float(known.std()) or 1.0, 6)
        shapes.append((one, float(least), float(most), mean, scale))
        missing = np.isnan(values)
        columns += [np.where(missing, 0.0, (clipped - mean) / scale), missing.astype(float)]
    design = np.column_stack([np.ones(len(people.defaulted)), *columns])
    weights = np.round(regress(design[:half], people.defaulted[:half]), 6)
    terms = tuple(
        Term(input=one, least=least, most=most, mean=mean, scale=scale,
             weight=float(weights[1 + 2 * n]), missing_weight=float(weights[2 + 2 * n]))
        for n, (one, least, most, mean, scale) in enumerate(shapes)
    )  # fmt: skip
    log_odds = design @ weights
    held_out = log_odds[half:], people.defaulted[half:]
    card = Scorecard(
        id=name,
        version=1,
        valid_from=about[1],
        kind=kind,
        trained_on=about[0],
        intercept=float(weights[0]),
        terms=terms,
        points_offset=_OFFSET,
        points_per_log_odd=_PER_LOG_ODD,
        measured=Measured(
            ks=round(compute_ks(*held_out), 4), auc=round(compute_auc(*held_out), 4), rows=len(held_out[0])
        ),
    )
    return Fitted(card, log_odds)


def regress(design: Floats, outcome: NDArray[np.bool_]) -> Floats:
    """Return the weights of a ridge-penalised logistic regression, by Newton's method."""
    weights = np.zeros(design.shape[1])
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-(design @ weights)))
        slope = design.T @ (outcome - share) - penalty @ weights
        curve = (design * (share * (1 - share))[:, None]).T @ design + penalty
        step = np.linalg.solve(curve, slope)
        weights = weights + step
        if float(np.abs(step).max()) < _CONVERGED:
            return weights
    raise ArithmeticError(f"the regression did not converge in {_STEPS} steps")


def compute_auc(log_odds: Floats, defaulted: NDArray[np.bool_]) -> float:
    """Return the chance that a defaulter scores worse than another, ties counting half."""
    _, inverse, counts = np.unique(log_odds, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    bad = int(defaulted.sum())
    good = len(defaulted) - bad
    return float((ranks[defaulted].sum() - bad * (bad + 1) / 2) / (bad * good))


def compute_ks(log_odds: Floats, defaulted: NDArray[np.bool_]) -> float:
    """Return the widest gap between the two groups' distributions (Kolmogorov-Smirnov)."""
    cuts = np.unique(log_odds)
    bad, good = np.sort(log_odds[defaulted]), np.sort(log_odds[~defaulted])
    shares = (np.searchsorted(group, cuts, side="right") / len(group) for group in (bad, good))
    first, second = shares
    return float(np.abs(first - second).max())


def compute_psi(before: Floats, after: Floats, bins: int = 10) -> float:
    """Return the population stability index of two sets of scores over the deciles of the first."""
    edges = np.unique(np.quantile(before, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, one, side="right"), minlength=len(edges) + 1), 0.5)
        / len(one)
        for one in (before, after)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
