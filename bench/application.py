"""From application to money: how long until the bank has paid, at a rate of new borrowers, open loop.

`python -m bench.application [--rate 8] [--seconds 60] [--json]`; writes bench/results/application.json. Each
borrower is new and goes the whole way on a fresh stand: customer, application, contract, draw, payout through
the stand's FakeBank. A way begins when it is due on schedule, however late the machine is, and ends
when the cell has written down that the bank paid.
"""

import asyncio
import json
import os
import secrets
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench._stand import fresh_stand, percentile, write_result
from replication.model import DATA_SITES
from replication.settings import read_site_settings
from replication.tls import public_tls
from runbooks.drills.arrivals import make_person
from runbooks.drills.customer import Customers, Request
from runbooks.drills.load import READ_SECONDS
from runbooks.drills.read_payouts import wait_until_final
from runbooks.drills.records import Outcome
from runbooks.tokens import channel_token

WISH = {"product": "instalment-12", "amount_fen": 1_000_000, "periods": 12}
PAID_WITHIN_S = 60.0
"""Patience with the last payouts. Source: our choice, twelve times the goal."""


@dataclass(slots=True)
class Journey:
    """One borrower's way; wall clock in seconds, as the cell's events have it."""

    due_at: float
    drawn_at: float = 0.0
    loan_id: str = ""
    refused: str = ""


async def travel(customers: Customers, entrance: str, number: int, token: str, due_at: float) -> Journey:
    """Take one new person from application to draw; the first step that is not done ends it."""
    journey, known = Journey(due_at), dict[str, Any]()
    person = make_person(token, number)
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/v1/customers", {"name": person.name, "id_number": person.id_number, "phone": person.phone}),
        ("/v1/applications", {"customer_id": None, **WISH}),
        (
            "/v1/contracts",
            {"application_id": None, "cost_table_sm3": None, "cost_table_read_seconds": READ_SECONDS},
        ),
        ("/v1/draws", {"contract_id": None}),
    )
    for path, body in steps:
        body |= {name: known[name] for name, value in body.items() if value is None}
        request = Request("POST", path, f"{token}-{number}-{path.rpartition('/')[2]}", body)
        done = await customers.settle(request, entrance)
        if done.outcome is not Outcome.OK or done.answer.get("decision") == "refused":
            journey.refused = f"{path}: {done.status} {done.answer.get('title') or done.outcome}"
            return journey
        known |= done.answer
    journey.drawn_at, journey.loan_id = time.time(), str(known["loan_id"])
    return journey


async def send(customers: Customers, rate: float, seconds: float) -> list[Journey]:
    """Send a borrower every 1 / `rate` s, to both entrances in turn; return them when all are through."""
    token, entrances = "bench-" + secrets.token_hex(4), sorted(customers.entrances)
    begun, tasks = time.time() + 0.1, []
    for number in range(int(rate * seconds)):
        due_at = begun + number / rate
        await asyncio.sleep(max(0.0, due_at - time.time()))
        entrance = entrances[number % len(entrances)]
        tasks.append(asyncio.create_task(travel(customers, entrance, number, token, due_at)))
    return list(await asyncio.gather(*tasks))


async def measure(home: Path, rate: float, seconds: float) -> dict[str, Any]:
    """Return the times from application to draw, from draw to money, and both; seconds."""
    settings = {site: read_site_settings(home / site / "site.json") for site in DATA_SITES}
    own = settings[DATA_SITES[0]]
    entrances = {str(site): f"https://127.0.0.1:{one.api_port}" for site, one in settings.items()}
    async with Customers(entrances, tls=public_tls(own.tls_dir), token=channel_token(own)) as customers:
        await send(customers, 4, 3)  # connections and plans
        journeys = await send(customers, rate, seconds)
    cells = [cell for cell in (await wait_until_final(own, PAID_WITHIN_S)).values() if cell is not None]
    loan_of = {order.order_id: order.loan_id for cell in cells for order in cell.orders}
    paid_at = {
        loan_of[event.order_id]: event.at.timestamp()
        for cell in cells
        for event in cell.events
        if event.state == "paid"
    }
    paid = [one for one in journeys if one.loan_id in paid_at]
    whole = [paid_at[one.loan_id] - one.due_at for one in paid]
    parts = {
        "application_to_draw": [one.drawn_at - one.due_at for one in paid],
        "draw_to_money": [paid_at[one.loan_id] - one.drawn_at for one in paid],
        "application_to_money": whole,
    }
    return {
        "rate_per_second": rate,
        "applications": len(journeys),
        "paid": len(paid),
        "drawn_not_paid": sum(bool(one.loan_id) for one in journeys) - len(paid),
        "not_drawn": sorted({one.refused for one in journeys if one.refused}),
        "seconds": {name: summarise(values) for name, values in parts.items()} if paid else {},
    }


def summarise(values: list[float]) -> dict[str, float]:
    """Return median, 99 of 100, and longest."""
    figures = {"p50": statistics.median(values), "p99": percentile(values, 0.99), "max": max(values)}
    return {name: round(value, 3) for name, value in figures.items()}


@click.command()
@click.option("--rate", default=8.0, show_default=True, help="New borrowers a second, over both entrances.")
@click.option("--seconds", default=60.0, show_default=True, help="How long they keep coming.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(rate: float, seconds: float, as_json: bool) -> None:
    """Measure and write bench/results/application.json; exit 1 if anybody was not paid."""
    busy = os.getloadavg()[0]
    with fresh_stand() as home:
        result = write_result("application", asyncio.run(measure(Path(home), rate, seconds)), busy)
    if as_json:
        click.echo(json.dumps(result))
    else:
        table = Table(
            "", "p50 s", "p99 s", "longest s", title=f"{result['paid']} borrowers, {rate:g} a second"
        )
        for name, one in result["seconds"].items():
            table.add_row(name.replace("_", " "), *(str(one[figure]) for figure in ("p50", "p99", "max")))
        Console().print(table)
        for why in result["not_drawn"]:
            click.echo(f"not drawn: {why}")
    sys.exit(0 if result["paid"] == result["applications"] else 1)


if __name__ == "__main__":
    main()
