"""`biyi quarantine`: what only a lost primary had, written down before it was rewound."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from replication.model import DATA_SITES
from runbooks.stand.home import default_home


def read_reports(home: Path) -> dict[Path, list[dict[str, Any]]]:
    """Return each report of the stand with its rows, oldest first."""
    reports = sorted(
        (path for site in DATA_SITES for path in (home / site / "quarantine").glob("*.jsonl")),
        key=lambda path: path.stat().st_mtime,
    )
    return {path: [json.loads(line) for line in path.read_text().splitlines()] for path in reports}


@click.command("quarantine")
@click.argument("report", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all reports, or the rows of REPORT.")
def quarantine_command(report: str | None, as_json: bool) -> None:
    """List the reports of rows that only a lost primary had, or show the rows of REPORT.

    Such commits were never acknowledged: their customers got no answer, or the answer of the run that
    replaced them. The report is what the business reconciles. Personal data stay sealed in it.
    Exit 1 when REPORT does not exist.
    """
    reports = read_reports(default_home())
    if report is None:
        rows = [
            {
                "report": path.stem,
                "site": path.parts[-3],
                "transactions": len({row["transaction"] for row in found}),
                "rows": len(found),
                "tables": sorted({row["table"] for row in found}),
            }
            for path, found in reports.items()
        ]
        _print(rows, as_json)
        return
    found = next((rows for path, rows in reports.items() if path.stem == report), None)
    if found is None:
        click.echo(f"no report {report!r}; `biyi quarantine` lists them", err=True)
        sys.exit(1)
    click.echo("\n".join(json.dumps(row, ensure_ascii=False) for row in found))


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo("no reports: no lost primary had anything of its own")
        return
    table = Table("report", "site", "transactions", "rows", "tables")
    for row in rows:
        table.add_row(
            row["report"],
            row["site"],
            str(row["transactions"]),
            str(row["rows"]),
            ", ".join(row["tables"]),
        )
    Console().print(table)
