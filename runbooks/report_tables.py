"""`biyi report tables`: what is filed, which of it nobody verified, and what is always empty and why."""

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from compliance.reporting.catalogue import read_tables


@click.command("tables")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def tables_command(as_json: bool) -> None:
    """Show what is filed: tables, cells, records, checks, and which of it nobody verified."""
    tables = read_tables()
    if as_json:
        plain = asdict(tables)
        for inner in ("sets", "account_sql", "agreement_sql", "deletion_sql"):
            del plain[inner]
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    table = Table("filing", "table", "name", "columns", "label")
    for name, one in tables.east.items():
        label = f"always empty: {one.why_empty.en}" if one.why_empty else tables.east_label.en
        table.add_row("EAST", name, f"{one.name.zh} {one.name.en}", str(len(one.columns)), label)
    for name, record in tables.records.items():
        fields = sum(map(len, record.segments.values()))
        label = f"none is made: {record.why_empty.en}" if record.why_empty else tables.records_label.en
        table.add_row("PBOC", name, f"{record.name.zh} {record.name.en}", str(fields), label)
    for name, made in tables.returns.items():
        table.add_row(
            "1104", name, f"{made.name.zh} {made.name.en}", str(len(made.cells)), tables.returns_label.en
        )
        for cell in made.stated:
            why = f"stated by {cell.owner}: {made.why_stated.en if made.why_stated else ''}"
            table.add_row("1104", f"{name}.{cell.cell}", f"{cell.zh} {cell.en}", "1", why)
    Console().print(table)
    for name, check in tables.checks.items():
        click.echo(f"check {name} ({check.table}): {check.zh} {check.en}")
