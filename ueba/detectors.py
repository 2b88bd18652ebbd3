"""PyOD's detectors over the evidence: they see combinations that no single column shows.

Isolation forests of several seeds, nearest neighbours and PCA, joined by the mean of their ranks in the
training window: a row's score never depends on the rows it is scored with (ECOD's and COPOD's would).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.pca import PCA

from ueba.settings import ScoreSettings
from ueba.windows import Floats

Matrix = npt.NDArray[np.float32]


def squash(values: Matrix) -> Matrix:
    """Return values with long tails pulled in, so that one column cannot drown the others."""
    limited = np.clip(values, -50.0, 50.0)
    return np.asarray(np.sign(limited) * np.log1p(np.abs(limited)), dtype=np.float32).round(4)


def choose_rows(values: Matrix, most: int) -> Matrix:
    """Return at most that many rows in an order that depends on their contents only."""
    order = np.lexsort(values.T[::-1])
    ordered = values[order]
    if len(ordered) <= most:
        return ordered
    # Neighbours in the order are alike: evenly spaced ones are a fair sample.
    return ordered[np.linspace(0, len(ordered) - 1, most).astype(np.int64)]


@dataclass(frozen=True, slots=True)
class Detectors:
    """Fitted detectors with their sorted training scores."""

    names: tuple[str, ...]
    models: tuple[Any, ...]
    training: tuple[Floats, ...]
    columns: npt.NDArray[np.bool_]
    """Columns that varied in training; the others tell nothing."""

    def each(self, values: Matrix) -> Floats:
        """Return the rank in training of every row (between 0 and 1, and above 1 beyond it) by detector."""
        squashed = squash(values)[:, self.columns]
        return np.stack(
            [
                _rank(np.asarray(model.decision_function(squashed), dtype=np.float64), training)
                for model, training in zip(self.models, self.training, strict=True)
            ],
            axis=1,
        )

    def score(self, values: Matrix) -> Floats:
        """Return the mean over kinds of detectors, each kind counting once."""
        ranks = self.each(values)
        kinds = sorted({name.split("-")[0] for name in self.names})
        by_kind = [
            ranks[:, [name.startswith(kind) for name in self.names]].mean(axis=1, keepdims=True)
            for kind in kinds
        ]
        return np.asarray(np.concatenate(by_kind, axis=1).mean(axis=1))


def _rank(scores: Floats, training: Floats) -> Floats:
    """Ranks, and beyond the greatest training score how far beyond, so that extremes stay ordered."""
    rank = np.searchsorted(training, scores, side="right") / len(training)
    spread = max(float(training[-1] - np.median(training)), 1e-9)
    return np.asarray(rank + np.maximum(scores - training[-1], 0.0) / spread)


def fit_detectors(values: Matrix, settings: ScoreSettings) -> Detectors:
    """Fit on ordinary history. Rows are chosen by content, seeds are fixed: same data, same model."""
    squashed = squash(values)
    varied = np.ptp(squashed, axis=0) > 0
    rows = choose_rows(squashed[:, varied], settings.fit_rows)
    few = choose_rows(rows, settings.neighbours_rows)
    models: list[tuple[str, Any, Matrix]] = [
        (f"iforest-{seed}", IForest(n_estimators=settings.trees, random_state=seed), rows)
        for seed in settings.seeds
    ]
    models += [("knn", KNN(n_neighbors=10), few), ("pca", PCA(n_components=0.9, svd_solver="full"), rows)]
    fitted: list[Any] = []
    training: list[Floats] = []
    for _, model, fit_on in models:
        model.fit(fit_on)
        fitted.append(model)
        training.append(np.sort(np.asarray(model.decision_scores_, dtype=np.float64)))
    return Detectors(tuple(name for name, _, _ in models), tuple(fitted), tuple(training), varied)


def fit_raw_control(values: Matrix, settings: ScoreSettings) -> Any:
    """Return the control that must lose: one isolation forest on raw counts of everyone."""
    model = IForest(n_estimators=settings.trees, random_state=settings.seeds[0])
    model.fit(choose_rows(np.asarray(values, dtype=np.float32), settings.fit_rows))
    return model


def names_of(settings: ScoreSettings) -> Sequence[str]:
    """Return the detectors' names, for the model card."""
    return [
        *(f"IForest(seed={seed}, trees={settings.trees})" for seed in settings.seeds),
        "KNN(10)",
        "PCA(.9)",
    ]
