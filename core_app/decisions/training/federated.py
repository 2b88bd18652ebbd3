"""Fit one card on people of two houses whose rows never leave them: federated averaging, an experiment.

Each house is a process of its own with its own rows. A round asks every house for one Newton step at the
weights so far, as sums over all its rows: slope (one number a weight) and curvature (one a pair of weights).
The coordinator adds the sums up, so that the weights are those of a fit to both houses' rows together. Sums
over few rows would give the rows away: a house with fewer than LEAST_ROWS answers nothing. Clips, means and
scales are those of a card that both houses know, not gathered from them.

Nothing in the core waits for it, and no figure of it says anything about real borrowers.
"""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from core_app.decisions.scorecard import Scorecard, Term
from core_app.decisions.training.fit import RIDGE, compute_auc, regress
from core_app.decisions.training.synthetic import Floats, Population, make_population
from core_app.errors import CoreError

LEAST_ROWS = 500
"""Fewest rows whose sums a house gives out. Source: our choice, some twenty rows a weight."""
PATIENCE_S = 60
"""For one answer of a house. Source: our choice; a round over 20,000 rows takes milliseconds."""
_ROUNDS = 30
_CONVERGED = 1e-10


class HouseRefused(CoreError):
    """A house gave no sums; the message says why, or that it was silent."""


@dataclass(frozen=True, slots=True)
class House:
    """Where a house's synthetic rows come from: every `of`-th one of a population, from `first` on."""

    seed: int
    rows: int
    first: int
    of: int = 2

    def read_rows(self) -> Population:
        """Return the rows of this house alone."""
        people = make_population(self.seed, self.rows)
        return people.only(np.arange(self.rows) % self.of == self.first)


@dataclass(slots=True)
class Wire:
    """The one way into a house: asks and answers as JSON, both kept to be looked at."""

    connection: Connection
    sent: list[bytes] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)

    def ask(self, weights: Floats) -> dict[str, Any]:
        """Return a house's sums at `weights`; HouseRefused when it gives none."""
        message = json.dumps({"weights": weights.tolist()}).encode()
        self.sent.append(message)
        self.connection.send_bytes(message)
        if not self.connection.poll(PATIENCE_S):
            raise HouseRefused(f"no answer within {PATIENCE_S} s")
        answer = self.connection.recv_bytes()
        self.received.append(answer)
        sums: dict[str, Any] = json.loads(answer)
        if "refused" in sums:
            raise HouseRefused(str(sums["refused"]))
        return sums


def make_design(terms: Sequence[Term], people: Population) -> Floats:
    """Return one row a person: 1, then of each term the standardised value and whether it is missing."""
    columns = [np.ones(len(people.defaulted))]
    for term in terms:
        values = people.inputs[term.input]
        missing = np.isnan(values)
        clipped = np.clip(values, term.least, term.most)
        columns += [np.where(missing, 0.0, (clipped - term.mean) / term.scale), missing.astype(float)]
    return np.column_stack(columns)


def compute_sums(design: Floats, outcome: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return slope and curvature of the log likelihood, summed over the rows."""
    share = 1 / (1 + np.exp(-(design @ weights)))
    return design.T @ (outcome - share), (design * (share * (1 - share))[:, None]).T @ design


def serve_house(connection: Connection, house: House, terms: Sequence[Term]) -> None:
    """Answer with sums until the other end is closed. Runs in the house's own process."""
    people = house.read_rows()
    design, outcome = make_design(terms, people), people.defaulted.astype(float)
    while True:
        try:
            weights = np.array(json.loads(connection.recv_bytes())["weights"])
        except EOFError:
            return
        if len(outcome) < LEAST_ROWS:
            answer: dict[str, Any] = {"refused": f"{len(outcome)} rows, needs {LEAST_ROWS} to give out sums"}
        else:
            slope, curve = compute_sums(design, outcome, weights)
            answer = {"rows": len(outcome), "slope": slope.tolist(), "curve": curve.tolist()}
        connection.send_bytes(json.dumps(answer).encode())


@contextmanager
def open_houses(houses: Sequence[House], terms: Sequence[Term]) -> Iterator[tuple[Wire, ...]]:
    """Start each house as a process that holds its own rows and no others."""
    context = multiprocessing.get_context("spawn")
    wires, running = [], []
    try:
        for house in houses:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve_house, args=(theirs, house, tuple(terms)), daemon=True)
            process.start()
            theirs.close()
            wires.append(Wire(ours))
            running.append(process)
        yield tuple(wires)
    finally:
        for wire in wires:
            wire.connection.close()
        for process in running:
            process.join(PATIENCE_S)


def average(card: Scorecard, wires: Sequence[Wire]) -> Floats:
    """Return the weights of a fit to all houses' rows, from rounds of sums.

    HouseRefused when a house gives none; ArithmeticError when the rounds do not come to rest.
    """
    size = 1 + 2 * len(card.terms)
    weights = np.zeros(size)
    penalty = RIDGE * np.eye(size)
    penalty[0, 0] = 0.0
    for _ in range(_ROUNDS):
        answers = [wire.ask(weights) for wire in wires]
        slope = sum(np.array(answer["slope"]) for answer in answers) - penalty @ weights
        curve = sum(np.array(answer["curve"]) for answer in answers) + penalty
        step = np.linalg.solve(curve, slope)
        weights = weights + step
        if float(np.abs(step).max()) < _CONVERGED:
            return weights
    raise ArithmeticError(f"the houses' weights did not come to rest in {_ROUNDS} rounds")


def compare_houses(card: Scorecard, seed: int, rows: int) -> dict[str, Any]:
    """Return the AUC of two houses' common fit and of each alone on people of neither, and what crossed."""
    houses = (House(seed, rows, 0), House(seed, rows, 1))
    with open_houses(houses, card.terms) as wires:
        weights = average(card, wires)
    unseen = make_population(seed + 1, rows)
    design = make_design(card.terms, unseen)

    def measure(fitted: Floats) -> float:
        return compute_auc(design @ fitted, unseen.defaulted)

    alone = [house.read_rows() for house in houses]
    first, second = (measure(regress(make_design(card.terms, own), own.defaulted)) for own in alone)
    return {
        "first_alone": first,
        "second_alone": second,
        "together": measure(weights),
        "rounds": len(wires[0].sent),
        "bytes_crossed": sum(len(message) for wire in wires for message in wire.received),
    }
