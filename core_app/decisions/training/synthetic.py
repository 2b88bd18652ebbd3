"""A population that does not exist: applicants with a hidden risk, what can be seen of it, and months.

Everything comes from the seed. A hidden risk z drives defaults and, with noise, every input; a third has
no bureau file, half has no history with us.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DEFAULT_AT_ZERO = -3.7
"""Log odds of a default at z = 0: about 2.4 %. Source: our choice for a synthetic world."""
DEFAULT_PER_Z = 1.6


@dataclass(frozen=True, slots=True)
class Population:
    """Inputs by name (nan: missing), and whether each applicant defaulted."""

    inputs: dict[str, Floats]
    defaulted: NDArray[np.bool_]

    def only(self, chosen: NDArray[np.bool_]) -> "Population":
        """Return those people alone."""
        return Population({name: of[chosen] for name, of in self.inputs.items()}, self.defaulted[chosen])


def make_population(seed: int, rows: int) -> Population:
    """Return `rows` applicants of the seed."""
    draw = np.random.default_rng(seed)
    hidden = draw.standard_normal(rows)
    defaulted = draw.random(rows) < 1 / (1 + np.exp(-(DEFAULT_AT_ZERO + DEFAULT_PER_Z * hidden)))
    known = draw.random(rows) < 0.5
    filed = draw.random(rows) < 0.67
    return Population(_see(draw, hidden, known, filed), defaulted)


def make_months(seed: int, rows: int, months: int) -> list[dict[str, Floats]]:
    """Return the inputs of the same people month by month: their hidden risk drifts, the noise is new."""
    draw = np.random.default_rng(seed)
    hidden = draw.standard_normal(rows)
    known, filed = draw.random(rows) < 0.5, draw.random(rows) < 0.67
    steady = draw.standard_normal((6, rows))
    seen = []
    for _ in range(months):
        hidden = 0.98 * hidden + np.sqrt(1 - 0.98**2) * draw.standard_normal(rows)
        seen.append(_see(draw, hidden, known, filed, steady))
    return seen


def _see(
    draw: np.random.Generator,
    hidden: Floats,
    known: NDArray[np.bool_],
    filed: NDArray[np.bool_],
    steady: Floats | None = None,
) -> dict[str, Floats]:
    """Return what is seen of a hidden risk; most of a person's noise stays with the person (`steady`)."""
    rows = len(hidden)

    def noise(which: int) -> Floats:
        fresh = draw.standard_normal(rows)
        return fresh if steady is None else 0.95 * steady[which] + np.sqrt(1 - 0.95**2) * fresh

    def only(given: NDArray[np.bool_], values: Floats) -> Floats:
        return np.where(given, values, np.nan)

    def counts(per_z: float, usual: float, which: int) -> Floats:
        found: Floats = np.floor(np.exp(np.log(usual) + per_z * hidden + 0.5 * noise(which)))
        return found

    return {
        "request.amount_share": np.clip(draw.beta(2, 3, rows) + 0.03 * hidden, 0.01, 1.0),
        "request.periods": draw.choice(np.array([3.0, 6.0, 12.0]), rows),
        "var.applications_90d": counts(0.4, 0.8, 0),
        "var.refused_90d": counts(0.7, 0.4, 1),
        "var.loans_drawn": np.where(known, 1 + np.floor(3 * draw.random(rows)), 0.0),
        "var.arrears_share": only(known, np.clip(0.10 * hidden + 0.10 * noise(2) - 0.05, -1.0, 1.0)),
        "bureau.score": only(filed, np.clip(690 - 55 * hidden + 30 * noise(3), 300, 900)),
        "bureau.overdue_12m": only(filed, counts(0.9, 0.35, 4)),
        "bureau.inquiries_90d": only(filed, counts(0.4, 1.5, 5)),
        "bureau.open_accounts": only(filed, np.floor(2 + 1.5 * draw.random(rows) + 0.3 * np.abs(hidden))),
    }
