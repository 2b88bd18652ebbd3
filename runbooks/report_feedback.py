"""`biyi report feedback`: what the regulator found wrong with a batch, as its feedback file says."""

import json
import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from compliance.reporting import submission
from compliance.reporting.regulator import Remark
from runbooks.lending_core import open_portal


async def read(batch_id: str) -> list[Remark]:
    """Return the remarks that were kept when the batch ended."""
    async with open_portal() as portal:
        return await submission.read_remarks(portal.desk.directory, batch_id)


def tell(batch_id: str, remarks: list[Remark], *, as_json: bool) -> None:
    """Print them; exit 1 when there are any: correct the books, then `biyi report correct`."""
    if as_json:
        click.echo(json.dumps([asdict(one) for one in remarks], ensure_ascii=False))
    elif not remarks:
        click.echo(f"{batch_id}: no remarks")
    else:
        table = Table("table", "key", "field", "remark")
        for one in remarks:
            table.add_row(one.table, one.key, one.field, one.text)
        Console().print(table)
    sys.exit(1 if remarks else 0)
