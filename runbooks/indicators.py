"""`biyi risk indicators`: what the company lends as a whole, against the bounds of law and appetite."""

import json
import sys
import uuid
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from core_app.core import LendingCore
from core_app.funding.publish import read_standings, stop_funder
from core_app.indicators.read import Added, add_cell, read_table
from core_app.indicators.table import Standing, State, find_partners_to_stop, judge_table
from runbooks.funder import run
from runbooks.lending_core import open_core

_COLOURS = {State.BREACHED: "red", State.UNKNOWN: "yellow", State.WITHIN: "green", State.NOTHING: "dim"}


@click.command("indicators")
@click.option(
    "--tier1-capital-fen",
    type=click.IntRange(1),
    help="Net tier-1 capital, for the partners' rows.",
)
@click.option("--stop", is_flag=True, help="Keep partners of breached rows out of further loans.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def indicators_command(tier1_capital_fen: int | None, stop: bool, as_json: bool) -> None:
    """Show every risk indicator over all cells with its bounds and owner.

    Balances are those of the cells' newest evenings (day-end). Exit 0 all within, 1 when one is breached,
    3 when a cell does not answer. A stopped partner comes back with `biyi funder start`.
    """
    standings, stopped = run(_look(tier1_capital_fen, stop))
    rows = [show(one) for one in standings]
    if as_json:
        click.echo(json.dumps({"indicators": rows, "stopped": stopped}, ensure_ascii=False))
    else:
        table = Table("domain", "indicator", "value", "bounds", "state", "owner")
        for row, one in zip(rows, standings, strict=True):
            state = f"[{_COLOURS[one.state]}]{one.state}[/]"
            name = f"{row['name']['zh']} {row['name']['en']}" + (f" ({one.partner})" if one.partner else "")
            table.add_row(row["domain"], name, row["value"] or "-", row["bounds"], state, row["owner"])
        Console().print(table)
        for partner in stopped:
            click.echo(f"stopped: {partner}")
    sys.exit(1 if any(one.state is State.BREACHED for one in standings) else 0)


async def _look(tier1_capital_fen: int | None, stop: bool) -> tuple[tuple[Standing, ...], list[str]]:
    async with open_core() as core:
        console = Console(stderr=True)
        added = Added()
        for cell in track(core.router.cells, "reading", console=console, disable=not console.is_terminal):
            await add_cell(core, cell, added)
        standings = judge_table(
            read_table(), added.as_sums(tier1_capital_fen), core.catalogue.rulebook, core.read_today()
        )
        return standings, await stop_breached(core, standings) if stop else []


async def stop_breached(core: LendingCore, standings: tuple[Standing, ...]) -> list[str]:
    """Keep the partners of breached rows out of further loans in every cell; returns who was stopped."""
    known = {cell: await read_standings(core, cell) for cell in core.router.cells}
    wanted = find_partners_to_stop(standings, sorted({name for found in known.values() for name in found}))
    for cell, found in known.items():
        for partner in wanted:
            if partner in found and not found[partner].stopped:
                await stop_funder(core, cell, partner, f"indicator-{uuid.uuid4().hex}", stopped=True)
    return list(wanted)


def show(one: Standing) -> dict[str, Any]:
    """Return a standing as JSON has it."""
    row = one.indicator
    bounds = [f"{sign} {bound}" for sign, bound in ((">=", one.least), ("<=", one.most)) if bound is not None]
    return {
        "id": row.id,
        "domain": row.domain,
        "name": row.name.model_dump(),
        "partner": one.partner,
        "state": str(one.state),
        "value": None if one.value is None else f"{float(one.value):.4f}",
        "bounds": " ".join(bounds),
        "owner": row.owner,
    }
