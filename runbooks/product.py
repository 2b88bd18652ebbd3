"""`biyi product list | check | publish | diff | schema`: product documents, and their way into the cells."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from compliance.protection.errors import ProtectionError
from core_app.core import LendingCore
from core_app.disclosure.charges import compute_charges
from core_app.errors import DocumentInvalid, Refused
from core_app.products.catalogue import FOLDER, Catalogue, read_catalogue, read_product
from core_app.products.check import find_contradictions, judge_product
from core_app.products.compare import compare_products
from core_app.products.model import Product, list_parameters, make_json_schema
from core_app.products.published import publish_version
from core_app.products.references import find_dangling
from core_app.router import CellUnavailable
from core_app.rules.read import read_rulebook
from core_app.yaml_documents import read_text
from replication.settings import SettingsError
from runbooks.lending_core import open_core

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Checked:
    """A document and what is wrong with it."""

    file: str
    product: Product | None
    faults: tuple[str, ...]
    refusals: tuple[dict[str, str], ...] = ()

    @property
    def good(self) -> bool:
        """Return whether it may go on sale."""
        return not self.faults and not self.refusals

    def plain(self) -> dict[str, Any]:
        """Return the findings as JSON has them."""
        reference = self.product.reference if self.product else None
        found = {"file": self.file, "product": reference, "good": self.good}
        return found | {"faults": list(self.faults), "refusals": list(self.refusals)}


@contextmanager
def _as_click_errors() -> Iterator[None]:
    try:
        yield
    except (DocumentInvalid, ProtectionError, SettingsError) as error:
        raise click.ClickException(str(error)) from error


@click.group()
def product() -> None:
    """Look after product documents: a product is data, more than a hundred parameters in YAML.

    \b
    What there is:   biyi product list
    A new one:       biyi product schema > product.json; edit a copy of a shipped document
    May it be sold:  biyi product check my-product.yaml
    What changed:    biyi product diff instalment-12 my-product.yaml
    Sell it:         biyi product publish my-product.yaml
    """


@product.command("list")
@_json
def list_command(as_json: bool) -> None:
    """Show the shipped products: price and all-in cost."""
    with _as_click_errors():
        rows = [_row(one) for one in read_catalogue().versions.values()]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table("product", "v", "repayment", "rate", "all-in", caption="all-in: simple, a year")
    for row in rows:
        cells = ("product", "version", "repayment", "rate_annual", "all_in_simple")
        table.add_row(*(str(row[name]) for name in cells))
    Console().print(table)


def _row(one: Product) -> dict[str, Any]:
    charges = compute_charges(one, one.amount.max_fen, one.tenor.periods[-1], one.identity.valid_from)
    return {
        "product": one.id,
        "version": one.version,
        "name": one.identity.name.zh,
        "repayment": one.schedule.method,
        "rate_annual": str(one.pricing.rate_annual),
        "all_in_simple": str(charges.cost.in_unit("simple")),
        "valid_from": one.identity.valid_from.isoformat(),
    }


@product.command("check")
@click.argument("files", nargs=-1, type=_FILE)
@_json
def check_command(files: Sequence[Path], as_json: bool) -> None:
    """Check documents (all shipped ones without FILES): shape, contradictions, law. Exit 1 when one fails.

    A refusal of the law names the rule's id, the value found, its limit, the day and the source.
    """
    with _as_click_errors():
        found = [check_file(file) for file in files or sorted(FOLDER.glob("*.yaml"))]
    if as_json:
        click.echo(json.dumps([one.plain() for one in found], ensure_ascii=False))
    else:
        for one in found:
            _print_checked(one)
    sys.exit(0 if all(one.good for one in found) else 1)


def check_file(file: Path) -> Checked:
    """Return everything wrong with one document; a document that cannot be read has one fault."""
    try:
        one = read_product(file.name, read_text(file))
    except DocumentInvalid as error:
        return Checked(str(file), None, (str(error),))
    if faults := find_contradictions(one) + find_dangling(one):
        return Checked(str(file), one, faults)
    refusals = tuple(refusal.as_plain() for refusal in judge_product(one, read_rulebook()))
    return Checked(str(file), one, (), refusals)


def _print_checked(one: Checked) -> None:
    title = one.product.reference if one.product else "unreadable"
    click.echo(f"{one.file}: {title}: {'may be sold' if one.good else 'refused'}")
    for fault in one.faults:
        click.echo(f"  {fault}")
    for refusal in one.refusals:
        click.echo(
            f"  {refusal['path']}: {refusal['found']}; {refusal['rule']} allows {refusal['limit']} "
            f"on {refusal['on']} ({refusal['source']}; {refusal['status']})"
        )


@product.command("diff")
@click.argument("before")
@click.argument("after")
@_json
def diff_command(before: str, after: str, as_json: bool) -> None:
    """Show what differs between two documents: each a file, or ID or ID@VERSION of a shipped product."""
    with _as_click_errors():
        changes = compare_products(find_document(before), find_document(after))
    if as_json:
        click.echo(json.dumps([asdict(change) for change in changes], ensure_ascii=False))
        return
    table = Table("parameter", before, after)
    for change in changes:
        table.add_row(change.path, *("-" if v is None else v for v in (change.before, change.after)))
    Console().print(table if changes else "no difference")


def find_document(name: str) -> Product:
    """Return the product of a file, or a shipped one by `ID` or `ID@VERSION`."""
    if Path(name).is_file():
        return read_product(name, read_text(Path(name)))
    product_id, _, version = name.partition("@")
    found = [
        one
        for one in read_catalogue().versions.values()
        if one.id == product_id and version in ("", str(one.version))
    ]
    if not found:
        raise DocumentInvalid(f"{name}: no file and no shipped product; needs one of either")
    return max(found, key=lambda one: one.version)


@product.command("schema")
@click.option("--table", "as_table", is_flag=True, help="One line a parameter: path, reader, meaning.")
def schema_command(as_table: bool) -> None:
    """Print the JSON Schema of a product document (2020-12); `read_by` names who reads a parameter."""
    if not as_table:
        click.echo(json.dumps(make_json_schema(), ensure_ascii=False, indent=2))
        return
    table = Table("parameter", "read by", "meaning")
    for parameter in list_parameters():
        table.add_row(parameter.path, parameter.read_by, parameter.text)
    Console().print(table)


@product.command("publish")
@click.argument("file", type=_FILE)
@_json
def publish_command(file: Path, as_json: bool) -> None:
    """Write a document into every cell, so that it is sold from its first day; safe to repeat.

    Refused (exit 1) when it may not be sold, or when its version is published with another document: a
    changed document needs a higher version. Exit 3 when a cell cannot be told: run it again, the cells
    that have it answer as before.
    """
    with _as_click_errors():
        checked = check_file(file)
        if checked.product is None or not checked.good:
            _print_checked(checked)
            sys.exit(1)
        refuse_shipped_change(checked.product, read_catalogue())
        rows = asyncio.run(publish_everywhere(checked.product))
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            click.echo(f"{row['cell']}: {row['outcome']}{': ' + row['detail'] if row['detail'] else ''}")
    outcomes = {row["outcome"] for row in rows}
    sys.exit(1 if "refused" in outcomes else 3 if outcomes & {"not_done", "unknown"} else 0)


def refuse_shipped_change(one: Product, catalogue: Catalogue) -> None:
    """Raise DocumentInvalid when this version is shipped with another document."""
    shipped = catalogue.find_version(one.id, one.version)
    if shipped is not None and shipped != one:
        changes = ", ".join(change.path for change in compare_products(shipped, one))
        raise DocumentInvalid(
            f"identity.version: {one.reference} is shipped with another document ({changes} differ): "
            "needs a higher version"
        )


async def publish_everywhere(one: Product) -> list[dict[str, str]]:
    """Publish to every cell in turn and return what became of each."""
    async with open_core() as core:
        progress = Console(stderr=True)
        cells = core.router.cells
        hidden = not progress.is_terminal
        return [
            await publish_to_cell(core, cell, one)
            for cell in track(cells, "publishing", console=progress, disable=hidden, transient=True)
        ]


async def publish_to_cell(core: LendingCore, cell: str, one: Product) -> dict[str, str]:
    """Publish to one cell under the version's own key; return `published`, `was there` or what hindered."""
    key = f"product-{one.id}-{one.version}"
    try:
        done = await publish_version(core, cell, key, one)
    except Refused as refusal:
        return {"cell": cell, "outcome": "refused", "detail": refusal.detail}
    except CellUnavailable as error:
        return {"cell": cell, "outcome": error.outcome, "detail": "the cell does not answer, run it again"}
    outcome = "was there" if done.answer.replayed else "published"
    return {"cell": cell, "outcome": outcome, "detail": ""}
