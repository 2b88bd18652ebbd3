"""`biyi settlement write | verify | clear`: what partners are told of a day, and what banks tell us of it."""

import datetime as dt
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from core_app.funding.clear import clear_cell
from core_app.funding.clearing import ClearingInvalid, read_clearing
from core_app.funding.settle import CellDay, read_cell_day, settle_cell
from core_app.funding.settlement import (
    Settlement,
    digest_lines,
    find_differences,
    read_settlement,
    sum_lines,
    write_settlement,
)
from core_app.yaml_documents import read_text
from runbooks.funder import run
from runbooks.lending_core import open_core

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@dataclass(frozen=True, slots=True)
class Read:
    """A partner's day as the cells have it now, and what is wrong with it."""

    settlement: Settlement
    faults: tuple[str, ...]


@click.group()
def settlement() -> None:
    """Settle with partner banks, a business day at a time.

    \b
    Yesterday:     biyi settlement write --funder bank_east --date 2026-01-15 --out settlements
    What banks booked:  biyi settlement clear bank_a-debits-2026-01-15.txt
    Still right:   biyi settlement verify settlements/bank_east-2026-01-15.txt
    """


@settlement.command("write")
@click.option("--funder", "funder_id", required=True, help="Id of the partner; `biyi funder list`.")
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), required=True, help="A day that is over.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder.")
@_json
def write_command(funder_id: str, day: dt.datetime, out: Path, as_json: bool) -> None:
    """Settle a partner's business day in every cell, once, and write its file; safe to repeat.

    Lines are read from the ledger and compared with the loans' own rows. Exit 1, and no file, when they
    differ, when a cell was settled with other lines, or when the file is there with another content. What
    borrowers repaid may be lent again from here on.
    """
    read = run(settle_everywhere(funder_id, day.date()))
    path = out / f"{funder_id}-{day:%Y-%m-%d}.txt"
    faults = list(read.faults)
    if not faults:
        faults += keep_file(path, write_settlement(read.settlement))
    _report(read.settlement, faults, path, as_json)


@settlement.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_json
def verify_command(file: Path, as_json: bool) -> None:
    """Check a file: its digest and totals, the cells' ledger, the loans' own rows, what was settled."""

    async def work() -> tuple[Settlement, list[str]]:
        kept = read_settlement(read_text(file))
        async with open_core() as core:
            days = {c: await read_cell_day(core, c, kept.funder, kept.day) for c in core.router.cells}
        found = compare_cells(kept.funder, kept.day, days)
        changed = find_differences(found.settlement.lines, kept.lines)
        return kept, [*found.faults, *(f"the file says otherwise than the ledger: {one}" for one in changed)]

    kept, faults = run(work())
    _report(kept, faults, file, as_json)


@settlement.command("clear")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--corrected", is_flag=True, help="The channel corrected its file of this day: this one holds.")
@_json
def clear_command(file: Path, *, corrected: bool, as_json: bool) -> None:
    """Compare a payment channel's clearing file of a day that is over with orders and ledger, in every cell.

    Three ways: what the channel booked, what we ordered and hold for paid, what stands in the ledger. Safe to
    repeat with the same file. Exit 1 when something does not agree, or the file cannot be relied on. What
    does not agree stays open in its cell, is looked at anew at each day-end, and is an alarm until it agrees.
    """

    async def work() -> list[dict[str, Any]]:
        clearing = read_clearing(read_text(file))
        async with open_core() as core:
            if clearing.day >= core.read_today():
                raise ClearingInvalid(f"{clearing.day}: a day that is not over, needs one before today")
            cells = core.router.cells
            done = [await clear_cell(core, cell, clearing, corrected=corrected) for cell in cells]
        return [dict(one.answer.body) | {"cell": one.cell} for one in done]

    found = run(work())
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        for one in found:
            click.echo(f"cell {one['cell']}: {one['lines']} orders, {one['amount_fen'] / 100:,.2f} yuan")
            for difference in one["differences"]:
                click.echo(f"  {difference}")
    sys.exit(1 if any(one["differences"] for one in found) else 0)


async def settle_everywhere(funder_id: str, day: dt.date) -> Read:
    """Settle the day in every cell and return it over all of them."""
    async with open_core() as core:
        for cell in core.router.cells:
            await settle_cell(core, cell, funder_id, day)
        days = {cell: await read_cell_day(core, cell, funder_id, day) for cell in core.router.cells}
    return compare_cells(funder_id, day, days)


def compare_cells(funder_id: str, day: dt.date, cells: dict[str, CellDay]) -> Read:
    """Return the day over all cells, with each difference between ledger, loans and what was settled."""
    faults = []
    for cell, found in cells.items():
        faults += [f"cell {cell}: {one}" for one in find_differences(found.ledger, found.business)]
        if found.settled_sm3 is None:
            faults.append(f"cell {cell}: the day is not settled here")
        elif found.settled_sm3 != digest_lines(found.ledger):
            faults.append(f"cell {cell}: settled with other lines than the ledger has now")
    lines = tuple(sorted(line for found in cells.values() for line in found.ledger))
    return Read(Settlement(funder_id, day, lines), tuple(faults))


def keep_file(path: Path, text: str) -> list[str]:
    """Write the file in one piece unless it is there; returns what is wrong when it says otherwise."""
    if path.exists():
        same = path.read_text(encoding="utf-8") == text
        return (
            [] if same else [f"{path} is there with another content; a file once sent is not written again"]
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
    return []


def _report(settled: Settlement, faults: list[str], path: Path, as_json: bool) -> None:
    totals = sum_lines(settled.lines)
    if as_json:
        plain: dict[str, Any] = {"funder": settled.funder, "day": settled.day.isoformat(), **asdict(totals)}
        plain |= {"net_fen": totals.net_fen, "file": str(path), "faults": faults}
        click.echo(json.dumps(plain, ensure_ascii=False))
    else:
        click.echo(
            f"{settled.funder} {settled.day}: {totals.lines} loans; drawn {totals.drawn_fen / 100:,.2f}, "
            f"collected {(totals.net_fen + totals.drawn_fen) / 100:,.2f}, net to the partner "
            f"{totals.net_fen / 100:,.2f} yuan"
        )
        for fault in faults:
            click.echo(f"  {fault}")
        click.echo(f"{path}: {'NOT RIGHT' if faults else 'right'}")
    sys.exit(1 if faults else 0)
