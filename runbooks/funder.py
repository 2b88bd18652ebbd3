"""`biyi funder list | example | set | stop | start`: whose money is lent, and how much of it is left."""

import asyncio
import json
import sys
import uuid
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table

from compliance.protection.errors import ProtectionError
from core_app.core import LendingCore
from core_app.errors import DocumentInvalid, Refused
from core_app.funding.funder import Funder
from core_app.funding.publish import (
    Parts,
    Standing,
    deal_to_cells,
    publish_funder,
    read_standings,
    stop_funder,
)
from core_app.router import CellUnavailable
from core_app.yaml_documents import parse_yaml, read_text
from replication.settings import SettingsError
from runbooks.lending_core import open_core

T = TypeVar("T")
_FUNDER = TypeAdapter(Funder)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@click.group()
def funder() -> None:
    """Look after funders: partner banks whose money is lent beside our own.

    \b
    A new one:        biyi funder example > bank.yaml; edit it; biyi funder set bank.yaml
    Who is there:     biyi funder list
    Other terms:      raise `version` in the document, change it, set it again
    Even out quota:   biyi funder set bank.yaml once more (each cell holds a part, draws use them unevenly)
    In trouble:       biyi funder stop bank_east; later biyi funder start bank_east
    """


@funder.command("example")
def example_command() -> None:
    """Print a funder's document with what each line means."""
    click.echo(files("core_app.funding").joinpath("example.yaml").read_text(encoding="utf-8"), nl=False)


@funder.command("list")
@_json
def list_command(as_json: bool) -> None:
    """Show every funder: terms, quota and what is used of it, all cells together."""

    async def read() -> dict[str, dict[str, Standing]]:
        async with open_core() as core:
            return {cell: await read_standings(core, cell) for cell in core.router.cells}

    rows = list(summarise(run(read())))
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table("funder", "v", "stands for", "cost", "used / quota", "today / quota a day", "state")
    for row in rows:
        used = f"{_yuan(row['used_fen'])} / {_yuan(row['total_fen'])}"
        day = f"{_yuan(row['day_used_fen'])} / {_yuan(row['day_fen'])}"
        cells = (row["funder"], str(row["version"]), ", ".join(row["fills"]), row["cost_annual"], used, day)
        table.add_row(*cells, "stopped" if row["stopped"] else "open")
    Console().print(table if rows else "no funder but ourselves; `biyi funder example` shows how one is made")


def summarise(cells: Mapping[str, Mapping[str, Standing]]) -> Iterator[dict[str, Any]]:
    """Yield each funder with its figures summed over the cells; a limit that no cell has is None."""
    for name in sorted({name for standings in cells.values() for name in standings}):
        found = [standings[name] for standings in cells.values() if name in standings]
        document = max((_FUNDER.validate_json(one.document) for one in found), key=lambda one: one.version)
        yield {
            "funder": name,
            "version": document.version,
            "fills": list(document.fills),
            "cost_annual": str(document.cost_annual),
            "total_fen": _sum(one.total_fen for one in found),
            "used_fen": sum(one.used_fen for one in found),
            "day_fen": _sum(one.day_fen for one in found),
            "day_used_fen": sum(one.day_used_fen for one in found),
            "stopped": any(one.stopped for one in found),
            "cells": len(found),
        }


def _sum(limits: Iterator[int | None]) -> int | None:
    known = [fen for fen in limits if fen is not None]
    return sum(known) if known else None


def _yuan(fen: int | None) -> str:
    return "no limit" if fen is None else f"{fen / 100:,.2f}".removesuffix(".00")


@funder.command("set")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_json
def set_command(file: Path, as_json: bool) -> None:
    """Make a funder known to every cell and deal its quota to them; safe to repeat, one operator at a time.

    Each cell lends from a part of the quota of its own; parts are lowered before others are raised, so the
    quota is never exceeded. Refused (exit 1) when this version is known with another document. Exit 3 when
    a cell cannot be told: until this is run again, less can be lent than agreed, never more.
    """
    try:
        document = parse_yaml(file.name, read_text(file), _FUNDER)
    except DocumentInvalid as error:
        raise click.ClickException(str(error)) from error
    parts = run(set_everywhere(document))
    if as_json:
        plain = {cell: {"total_fen": one.total_fen, "day_fen": one.day_fen} for cell, one in parts.items()}
        click.echo(json.dumps({"funder": document.id, "version": document.version, "cells": plain}))
        return
    for cell, one in parts.items():
        click.echo(f"{cell}: {document.reference}: {_yuan(one.total_fen)} in all, {_yuan(one.day_fen)} a day")


async def set_everywhere(document: Funder) -> dict[str, Parts]:
    """Publish to every cell, then deal the quota; returns each cell's part."""
    async with open_core() as core:
        key = f"funder-{document.id}-{document.version}"
        for cell in _tracked(core.router.cells, "publishing"):
            await publish_funder(core, cell, key, document)
        return await deal_to_cells(core, document, f"deal-{uuid.uuid4().hex}")


@funder.command("stop")
@click.argument("funder_id")
def stop_command(funder_id: str) -> None:
    """Keep a funder out of every further loan, in every cell; loans it funds go on."""
    _switch(funder_id, stopped=True)


@funder.command("start")
@click.argument("funder_id")
def start_command(funder_id: str) -> None:
    """Let a stopped funder in again."""
    _switch(funder_id, stopped=False)


def _switch(funder_id: str, *, stopped: bool) -> None:
    async def switch(core: LendingCore) -> None:
        for cell in _tracked(core.router.cells, "telling"):
            await stop_funder(core, cell, funder_id, f"switch-{uuid.uuid4().hex}", stopped=stopped)

    async def work() -> None:
        async with open_core() as core:
            await switch(core)

    run(work())
    click.echo(f"{funder_id}: {'stopped' if stopped else 'open'} in every cell")


def _tracked(cells: Sequence[str], what: str) -> Iterator[str]:
    progress = Console(stderr=True)
    yield from track(cells, what, console=progress, disable=not progress.is_terminal, transient=True)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; exit 1 with what refused it, 3 when a cell cannot be reached."""
    with _as_click_errors():
        return asyncio.run(work)


@contextmanager
def _as_click_errors() -> Iterator[None]:
    try:
        yield
    except (DocumentInvalid, ProtectionError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    except Refused as refusal:
        raise click.ClickException(refusal.detail) from refusal
    except CellUnavailable as error:
        click.echo(f"cell {error.cell}: {error.outcome}; run it again", err=True)
        sys.exit(3)
