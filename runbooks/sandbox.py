"""`biyi product sandbox`: what future-dated rules would refuse of the business of the last days."""

import asyncio
import datetime as dt
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Column, Table

from compliance.protection.errors import ProtectionError
from core_app.business_calendar import business_date_at
from core_app.errors import DocumentInvalid
from core_app.products.catalogue import Catalogue, read_catalogue
from core_app.rules.legal import LegalRow
from core_app.sandbox.compare import (
    Balance,
    Difference,
    Item,
    RuleChange,
    amend,
    compare_figures,
    compare_items,
    first_day_of,
)
from core_app.sandbox.read import (
    Connect,
    Wish,
    list_products,
    open_copy,
    read_balances,
    read_items,
    read_products,
    read_rows,
)
from replication.etcd import EtcdUnavailable
from replication.settings import SettingsError
from runbooks.audit_source import NoGrant
from runbooks.cells import site_settings
from runbooks.report import connect_report

_EFFECTS = {"refused_now": "拒绝 refused now", "allowed_now": "放行 allowed now"}


@click.command("sandbox")
@click.argument("rules", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 3650),
    help="How far back business is looked at.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def sandbox_command(rules: Path, days: int, as_json: bool) -> None:
    """Try future-dated rules on the products, quotes, contracts and postings there are, and change nothing.

    \b
    RULES has rows in the shape of core_app/rules/parameters.yaml, each of a day to come:
      - {key: cap.all_in, value: "0.20", unit: share a year, from: 2027-01-01, source: draft,
         status: guidance, looks_at: cost.in_ceiling_unit, compare: at_most,
         stages: [publication, quote, contract]}
      - {key: class5.special_mention, value: "2", unit: first day past due, from: 2027-01-01, source: draft,
         status: guidance}

    \b
    What would change:       biyi product sandbox draft.yaml
    Of the last quarter:     biyi product sandbox draft.yaml --days 90 --json

    A row ends what its key said before. Both sets of rules are asked as of the first day on which all rows
    hold, so that only the draft makes a difference. Every cell is read in one read-only transaction by a role
    that can write nothing. Shown are ids only. Exit 0 when nothing differs, 1 when something does, 3 when a
    cell does not answer.
    """
    try:
        today = business_date_at(dt.datetime.now(dt.UTC))  # noqa: TID251 - a shell
        found = asyncio.run(_try(read_rows(rules), today, days))
    except (DocumentInvalid, ProtectionError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    except (psycopg.Error, EtcdUnavailable, NoGrant, OSError) as error:
        click.echo(f"a cell does not answer ({type(error).__name__}): run it again", err=True)
        sys.exit(3)
    if as_json:
        click.echo(json.dumps(found.as_plain(), ensure_ascii=False))
    else:
        show_difference(found)
    sys.exit(1 if found.rules or found.figures else 0)


async def _try(rows: Sequence[LegalRow], today: dt.date, days: int) -> Difference:
    settings = next(iter(site_settings().values()))
    cells = tuple(str(cell.name) for cell in settings.cells)

    def connect(cell: str) -> Any:
        return connect_report(settings, cell)

    with Console(stderr=True).status("reading every cell"):
        return await try_rules(connect, cells, rows, (today, days))


async def try_rules(
    connect: Connect, cells: Sequence[str], rows: Sequence[LegalRow], when: tuple[dt.date, int]
) -> Difference:
    """Return what `rows` change for the business of all cells; `when` is today and how many days back.

    RulesInvalid when the rows are not all of a day to come or contradict each other.
    """
    today, days = when
    catalogue: Catalogue = read_catalogue()
    day = first_day_of(rows, today)
    old, new = catalogue.rulebook, amend(catalogue.rulebook, rows)
    wish = Wish(today - dt.timedelta(days=days), today, day)
    products: list[Item] = []
    balances: list[Balance] = []
    looked: Counter[str] = Counter()
    turned: dict[str, Counter[str]] = {}
    changes: list[RuleChange] = []

    def add(items: Sequence[Item]) -> None:
        seen, here, found = compare_items(items, old, new, day)
        looked.update(seen)
        for kind, counts in here.items():
            turned.setdefault(kind, Counter()).update(counts)
        changes.extend(found)

    for cell in cells:
        async with open_copy(connect, cell) as connection:
            known = await read_products(connection, catalogue)
            products = products or list_products(known, wish)
            batch: list[Item] = []
            async for item in read_items(connection, known, wish):
                batch.append(item)
                if len(batch) == 1_000:
                    add(batch)
                    batch.clear()
            add(batch)
            balances += await read_balances(connection, cell)
    add(products)
    figures = compare_figures(balances, old, new, day)
    return Difference(day, dict(looked), turned, merge_changes(changes), figures)


def merge_changes(changes: Sequence[RuleChange]) -> tuple[RuleChange, ...]:
    """Return one change a kind, rule and effect: counts added up, the first examples kept."""
    merged: dict[tuple[str, str, str], RuleChange] = {}
    for one in changes:
        key = (one.kind, one.rule, one.effect)
        if (known := merged.get(key)) is None:
            merged[key] = one
        else:
            known.count += one.count
            known.examples = [*known.examples, *one.examples][: max(len(known.examples), len(one.examples))]
    return tuple(merged[key] for key in sorted(merged))


def show_difference(found: Difference) -> None:
    """Print what would change, for people."""
    looked = ", ".join(f"{count} {kind}" for kind, count in sorted(found.looked_at.items()))
    click.echo(f"as of {found.day}; looked at: {looked or 'nothing'}")
    if not found.rules and not found.figures:
        click.echo("无差异 no difference")
        return
    table = Table(
        "对象 of", Column("规则 rule", no_wrap=True, overflow="fold"), "", "原 old", "新 new", "数量 count"
    )
    for one in found.rules:
        table.add_row(one.kind, one.rule, _EFFECTS[one.effect], one.old, one.new, str(one.count))
    if found.rules:
        Console().print(table)
        click.echo("例 examples")
    for one in found.rules:
        for example in one.examples:  # a line each, whole: an id is copied, and a column would cut it
            click.echo(f"  {one.kind} {one.rule}: {example}")
    for kind, counts in sorted(found.turned.items()):
        click.echo(
            f"{kind}: " + ", ".join(f"{count} {_EFFECTS[way]}" for way, count in sorted(counts.items()))
        )
    if found.figures:
        figures = Table("监管数据 figure", "原 old", "新 new")
        for figure in found.figures:
            figures.add_row(figure.figure, figure.old, figure.new)
        Console().print(figures)
