"""`biyi ledger balances`: the trial balance of every cell, by product, channel, funder and region."""

import json
import sys
from collections import Counter
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from core_app.ledger.balances import Balance, read_balances
from core_app.ledger.dimensions import Dimension, loan_classes
from core_app.products.catalogue import read_catalogue
from runbooks.funder import run
from runbooks.lending_core import open_core

_Sums = dict[tuple[str, str, tuple[str, ...]], int]


@click.group()
def ledger() -> None:
    """Look at the books.

    \b
    The trial balance:  biyi ledger balances
    By two dimensions:  biyi ledger balances --by product --by region
    """


@ledger.command("balances")
@click.option(
    "--by",
    type=click.Choice([str(one) for one in Dimension]),
    multiple=True,
    help="A dimension to tell balances apart by; may be given more than once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def balances_command(by: Sequence[str], as_json: bool) -> None:
    """Show what stands on each account over all cells, debit positive, in fen.

    Reads the whole ledger of every cell. Exit 1 unless the balances sum to zero for every combination of
    the dimensions, 3 when a cell does not answer.
    """
    chosen = tuple(Dimension(name) for name in dict.fromkeys(by))
    sums = add_up(run(_read(chosen)))
    off = find_unbalanced(sums)
    if as_json:
        rows = [
            {"account": account, "name": name, **dict(zip(chosen, values, strict=True)), "balance_fen": fen}
            for (account, name, values), fen in sums.items()
        ]
        unbalanced = [dict(zip(chosen, values, strict=True)) for values in off]
        click.echo(json.dumps({"balances": rows, "unbalanced": unbalanced}, ensure_ascii=False))
    else:
        _print(chosen, sums)
        click.echo("not balanced: " + "; ".join(map(str, off)) if off else "balanced")
    sys.exit(1 if off else 0)


async def _read(by: Sequence[Dimension]) -> list[Balance]:
    async with open_core() as core:
        return [one for cell in core.router.cells for one in await read_balances(core, cell, by)]


def add_up(balances: Sequence[Balance]) -> _Sums:
    """Return the sums over all cells, by account, its names, and the values of the dimensions."""
    sums: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    for one in balances:
        sums[(one.account, f"{one.name_zh} {one.name_en}", one.values)] += one.balance_fen
    return dict(sorted(sums.items()))


def find_unbalanced(sums: _Sums) -> list[tuple[str, ...]]:
    """Return the values of the dimensions whose balances do not sum to zero."""
    totals: Counter[tuple[str, ...]] = Counter()
    for (_, _, values), fen in sums.items():
        totals[values] += fen
    return [values for values, fen in totals.items() if fen]


def _print(by: Sequence[Dimension], sums: _Sums) -> None:
    classes = loan_classes(read_catalogue().versions.values())
    table = Table("account", "name", *by, "yuan")
    for (account, name, values), fen in sums.items():
        shown = (
            f"{value} ({classes[value]})" if one is Dimension.PRODUCT and value in classes else value
            for one, value in zip(by, values, strict=True)
        )
        table.add_row(account, name, *shown, f"{fen / 100:,.2f}")
    Console().print(table)
