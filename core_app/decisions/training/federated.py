"""Fit one card on people of two houses whose rows never leave them: federated Newton steps, an experiment.

The houses have different customers and the same columns. (Different columns of the same customers would
need to know first who is a customer of both, which would itself cross.) The platform, this process, asks the
bank, a process of its own behind mutual TLS, for sums at the weights so far and adds those over its own rows:
slope, one number a weight, and curvature, one a pair of weights. The weights found are those of a fit to all
rows together. `released` says when a house gives nothing. Each house learns the other's sums, no row.

Nothing in the core waits for it, and no figure of it says anything about real borrowers.
docs/decisions/095-sums-cross-not-rows.md says why no framework for this is used.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from core_app.decisions.training.fit import RIDGE, compute_auc, regress
from core_app.decisions.training.house import House, make_design, read_terms
from core_app.decisions.training.released import (
    compute_sums,
    find_why_not,
    pack_weights,
    unpack_sums,
)
from core_app.decisions.training.synthetic import Floats, make_population
from core_app.errors import CoreError
from replication.tls import Tls

PATIENCE_S = 60.0
"""For one answer of a house. Source: our choice; a round over 20,000 rows takes milliseconds."""
_ROUNDS = 30
_CONVERGED = 1e-10
Ask = Callable[[Floats], Awaitable[tuple[Floats, Floats]]]
"""Asks a house for slope and curvature at weights; HouseRefused when it gives none."""


class HouseRefused(CoreError):
    """A house gave no sums; the message says which and why, or that it could not be asked."""


@dataclass(slots=True)
class Wire:
    """The one way to the bank; counts the rounds and the bytes of the sums that crossed."""

    session: aiohttp.ClientSession
    url: str
    tls: Tls
    rounds: int = 0
    bytes_crossed: int = field(default=0)

    async def ask(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the bank's sums at `weights`."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        try:
            async with self.session.post(
                f"{self.url}/v1/sums", data=pack_weights(weights), ssl=self.tls, timeout=timeout
            ) as answer:
                if answer.status != 200:
                    raise HouseRefused(f"bank: {(await answer.json())['why']}")
                message = await answer.read()
            sums = unpack_sums(message, len(weights))
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            raise HouseRefused(f"bank: no answer that can be used ({type(error).__name__})") from error
        self.rounds += 1
        self.bytes_crossed += len(message)
        return sums


def asking_own_rows(house: House) -> Ask:
    """Return how the platform asks itself: by the same sums under the same rule."""
    people = house.read_rows()
    design, outcome = make_design(read_terms(), people), people.defaulted.astype(float)

    async def ask(weights: Floats) -> tuple[Floats, Floats]:
        if (why := find_why_not(design, outcome, weights)) is not None:
            raise HouseRefused(f"platform: {why}")
        return compute_sums(design, outcome, weights)

    return ask


async def average(size: int, asks: tuple[Ask, ...]) -> Floats:
    """Return the weights of a fit to all houses' rows, from rounds of sums.

    HouseRefused when a house gives none; ArithmeticError when the rounds do not come to rest.
    """
    weights = np.zeros(size)
    penalty = RIDGE * np.eye(size)
    penalty[0, 0] = 0.0
    for _ in range(_ROUNDS):
        answers = [await ask(weights) for ask in asks]
        slope = sum(slope for slope, _ in answers) - penalty @ weights
        curve = sum(curve for _, curve in answers) + penalty
        step = np.linalg.solve(curve, slope)
        weights = weights + step
        if float(np.abs(step).max()) < _CONVERGED:
            return weights
    raise ArithmeticError(f"the houses' weights did not come to rest in {_ROUNDS} rounds")


async def compare_houses(platform: House, bank: House, wire: Wire) -> dict[str, Any]:
    """Return the AUC of each house alone, both by sums, and all rows in one place, on people of neither."""
    terms = read_terms()
    weights = await average(1 + 2 * len(terms), (asking_own_rows(platform), wire.ask))
    unseen = make_population(platform.seed + 1, platform.rows)
    design = make_design(terms, unseen)

    def measure(fitted: Floats) -> float:
        return compute_auc(design @ fitted, unseen.defaulted)

    own = [house.read_rows() for house in (platform, bank)]
    designs = [make_design(terms, one) for one in own]
    alone = [measure(regress(d, one.defaulted)) for d, one in zip(designs, own, strict=True)]
    pooled = regress(np.concatenate(designs), np.concatenate([one.defaulted for one in own]))
    return {
        "platform_alone": alone[0],
        "bank_alone": alone[1],
        "federated": measure(weights),
        "pooled": measure(pooled),
        "rounds": wire.rounds,
        "bytes_crossed": wire.bytes_crossed,
    }
