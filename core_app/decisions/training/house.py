"""The other house's process: holds its own rows and answers with sums over all of them, over mutual TLS.

`python -m core_app.decisions.training.house --seed S --rows N --first K --tls DIR --name NAME`, which says on
its output at which port it listens. `POST /v1/sums`: the weights in, slope and curvature out, as `released`
packs them; 409 with the reason when the sums would show single rows, or when it was asked too often.
"""

import asyncio
import json
import signal
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from aiohttp import web

from core_app.decisions.risk import read_risk
from core_app.decisions.scorecard import Term
from core_app.decisions.training.released import (
    compute_sums,
    find_why_not,
    pack_sums,
    unpack_weights,
)
from core_app.decisions.training.synthetic import Floats, Population, make_population
from replication.gate import admit_only
from replication.loops import run
from replication.tls import OPERATOR, open_identity

MOST_ASKS = 30
"""Answers that a house gives in its life. Source: our choice, three times what a fit takes; each further one
at weights of the asker's choice would tell more of single rows."""
CARD = "credit-challenger"
"""The card fitted again: clips, means and scales of its terms are known to both houses."""


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


def make_design(terms: tuple[Term, ...], people: Population) -> Floats:
    """Return one row a person: 1, then of each term the standardised value and whether it is missing."""
    columns = [np.ones(len(people.defaulted))]
    for term in terms:
        values = people.inputs[term.input]
        missing = np.isnan(values)
        clipped = np.clip(values, term.least, term.most)
        columns += [np.where(missing, 0.0, (clipped - term.mean) / term.scale), missing.astype(float)]
    return np.column_stack(columns)


def read_terms() -> tuple[Term, ...]:
    """Return the terms of the card that both houses know."""
    return next(model.card.terms for model in read_risk().versions if model.card.id == CARD)


class Answering:
    """A house's rows and how often it was asked about them; they do not change while it lives."""

    def __init__(self, people: Population, terms: tuple[Term, ...]) -> None:
        self._design = make_design(terms, people)
        self._outcome = people.defaulted.astype(float)
        self._asked = 0

    async def post_sums(self, request: web.Request) -> web.Response:
        """Answer with the sums at the weights asked about, or with why not."""
        try:
            weights = unpack_weights(await request.read(), self._design.shape[1])
        except ValueError as error:
            return web.json_response({"outcome": "refused", "why": f"body: {error}"}, status=422)
        why = find_why_not(self._design, self._outcome, weights)
        if why is None and self._asked >= MOST_ASKS:
            why = f"asked {MOST_ASKS} times already"
        if why is not None:
            return web.json_response({"outcome": "refused", "why": why}, status=409)
        self._asked += 1
        return web.Response(body=pack_sums(*compute_sums(self._design, self._outcome, weights)))


async def serve(house: House, tls: Path, name: str) -> None:
    """Answer at a port of the system's choice until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_identity(tls, name) as identity:
        gate = admit_only(identity, asking=set(), changing={OPERATOR})
        application = web.Application(middlewares=gate, client_max_size=64 * 1024)
        application.router.add_post("/v1/sums", Answering(house.read_rows(), read_terms()).post_sums)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=identity.serving())
        await site.start()
        click.echo(json.dumps({"port": runner.addresses[0][1]}))
        await stop.wait()
        await runner.cleanup()


@click.command()
@click.option("--seed", type=int, required=True)
@click.option("--rows", type=int, required=True, help="Synthetic people of all houses together.")
@click.option("--first", type=int, required=True, help="This house has every second one, from this on.")
@click.option("--tls", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--name", required=True, help="Whose certificate of that directory it presents.")
def main(seed: int, rows: int, first: int, tls: Path, name: str) -> None:
    """Hold one house's rows and answer with sums over all of them, until SIGTERM."""
    run(serve(House(seed, rows, first), tls, name))


if __name__ == "__main__":
    main()
