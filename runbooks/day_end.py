"""`biyi day-end run | status`: close the business date of the cells, wherever their primaries stand."""

import asyncio
import datetime as dt
import json
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from compliance.protection.errors import ProtectionError
from compliance.protection.vault import open_vault
from core_app.business_calendar import business_date_at
from core_app.core import Connection, LendingCore
from core_app.day_end.due import close_due
from core_app.day_end.fingerprint import read_fingerprint
from core_app.day_end.lateness import count_days_late
from core_app.day_end.service import PATIENCE_SECONDS, DayClosed, DayEnd, DayNotOpen, Step, Tell, read_status
from core_app.products.catalogue import read_catalogue
from core_app.router import CellUnavailable, Router
from core_app.settings import ApiSettings
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import calling
from runbooks.cells import site_settings
from runbooks.stand.home import default_home
from runbooks.stand.topology import StandError, outside_settings, read_stand

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_SETTINGS = click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A site's site.json, where there is no stand: in a pod.",
)
_CELL = click.option("--cell", "cells", multiple=True, help="This cell only; may be given more than once.")


@click.group("day-end")
def day_end() -> None:
    """Close business dates: what each loan's evening was is kept, bills are made, the date moves on.

    \b
    Close the day:       biyi day-end run
    By a timetable:      biyi day-end run --due
    How far is it:       biyi day-end status
    A killed run:        biyi day-end run again; it goes on where it was, with the same rows
    """


@day_end.command("run")
@_CELL
@click.option("--date", "day", help="The business date to close (YYYY-MM-DD); by default each cell's own.")
@click.option("--due", is_flag=True, help="Close every day that is over, the oldest first; none is no error.")
@click.option("--ahead", is_flag=True, help="Close a date the calendar has not reached: for rehearsals.")
@click.option(
    "--patience",
    type=click.FloatRange(1, 3600),
    default=PATIENCE_SECONDS,
    show_default=True,
    help="Seconds a cell may be away before its run gives up.",
)
@_SETTINGS
@_JSON
def run_command(
    cells: Sequence[str],
    day: str | None,
    *,
    due: bool,
    ahead: bool,
    patience: float,
    settings_file: Path | None,
    as_json: bool,
) -> None:
    """Run day-end over every cell at once, while customers go on.

    A chunk of slots is one transaction, so a kill at any moment leaves nothing half done. A cell that
    follows the calendar is taken over: from then on only day-end moves its date. Exit 0 done, 1 refused
    (the cell is on another date), 3 a cell stayed away: run it again.
    """
    if due and (day is not None or ahead):
        raise click.UsageError("--due: goes by the calendar, so neither with --date nor with --ahead")
    wanted = None if day is None else _read_day(day)

    async def close(run: DayEnd) -> tuple[DayClosed, ...]:
        return await close_due(run) if due else (await _close_one(run, wanted, ahead),)

    try:
        outcomes = asyncio.run(_run_cells(onlooker_settings(settings_file), cells, close, patience))
    except (ProtectionError, SettingsError, StandError) as error:
        raise click.ClickException(str(error)) from error
    failed = {cell: str(one) for cell, one in outcomes.items() if isinstance(one, Exception)}
    if as_json:
        closed = [one for days in outcomes.values() if not isinstance(days, Exception) for one in days]
        rows = [asdict(one) | {"day": one.day.isoformat()} for one in closed]
        click.echo(json.dumps({"closed": rows, "failed": failed}))
    else:
        _print_closed(outcomes)
    if any(isinstance(one, CellUnavailable) for one in outcomes.values()):
        sys.exit(3)
    sys.exit(1 if failed else 0)


def _print_closed(outcomes: Mapping[str, tuple[DayClosed, ...] | Exception]) -> None:
    table = Table("cell", "closed", "loans", "closings", "seconds")
    for cell, one in outcomes.items():
        if isinstance(one, Exception):
            table.add_row(cell, f"not closed: {one}")
            continue
        if not one:
            table.add_row(cell, "nothing is due")
        for day in one:
            row = (day.day.isoformat(), f"{day.loans:,}", f"{day.closings:,}", f"{day.seconds:.2f}")
            table.add_row(cell, *row)
    Console().print(table)
    for cell, one in outcomes.items():
        newest = () if isinstance(one, Exception) else one[-1:]
        for unmatched in (found for day in newest for found in day.unmatched):
            click.echo(f"alarm: cell {cell}: {unmatched}; biyi settlement clear", err=True)


@day_end.command("status")
@_CELL
@click.option("--fingerprint", "day", help="Also hash all that day-end wrote for this date (YYYY-MM-DD).")
@_JSON
def status_command(cells: Sequence[str], day: str | None, as_json: bool) -> None:
    """Show each cell's business date and what its newest day-end has done.

    Two runs over equal portfolios have equal fingerprints (SM3), however often they were killed. A day that
    should be closed by now and is not is an alarm: exit 1; a cell that is away: exit 3.
    """
    wanted = None if day is None else _read_day(day)
    try:
        rows = asyncio.run(_read_cells(cells, wanted))
    except (ProtectionError, SettingsError, StandError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(rows))
    else:
        table = Table("cell", "business date", "late", "newest day-end", "closed", "booked", "fingerprint")
        for row in rows:
            steps = {name: f"{step['chunks']} of {step['of']}" for name, step in row["steps"].items()}
            date = row["business_date"] or "the calendar's"
            late = f"[red]{row['days_late']} days[/red]" if row["days_late"] else "no"
            shown = (date, late, row["day_end_of"] or "-", steps.get("close", "-"), steps.get("book", "-"))
            table.add_row(row["cell"], *shown, row.get("fingerprint", ""))
        Console().print(table)
        for alarm in find_alarms(rows):
            click.echo(f"alarm: {alarm}", err=True)
    sys.exit(3 if any("away" in row for row in rows) else 1 if find_alarms(rows) else 0)


def find_alarms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what somebody has to look at now: days that should be closed and are not."""
    return [
        f"cell {row['cell']}: {row['days_late']} business days are not closed, the first is"
        f" {row['business_date'] or row['begun_on']}; biyi day-end run --cell {row['cell']}"
        for row in rows
        if row["days_late"]
    ]


def _read_day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{text}: needs a date such as 2026-01-31") from error


def onlooker_settings(file: Path | None = None) -> SiteSettings:
    """Return addresses that stay good whichever site is lost: of a file, of the stand, else of a site."""
    if file is not None:
        return read_site_settings(file)
    try:
        return outside_settings(read_stand(default_home()))
    except StandError:
        return next(iter(site_settings().values()))


@asynccontextmanager
async def open_core(settings: SiteSettings) -> AsyncIterator[LendingCore]:
    """Yield a core whose router follows the grants; needs no site in particular."""
    vault = open_vault(settings.key_file)
    async with Router.start(settings, tls=calling(settings.tls_dir, "etcd")) as router:
        yield LendingCore(
            router=router,
            vault=vault,
            catalogue=read_catalogue(),
            site=str(settings.site),
            deadline_seconds=ApiSettings().deadline_seconds,
            new_uuid=uuid.uuid4,
            read_today=read_calendar,
        )


def read_calendar() -> dt.date:
    """Return the calendar's business date."""
    return business_date_at(_read_now())


Close = Callable[[DayEnd], Awaitable[tuple[DayClosed, ...]]]
"""Closes what is to be closed of one cell."""


async def _run_cells(
    settings: SiteSettings, cells: Sequence[str], close: Close, patience: float
) -> dict[str, tuple[DayClosed, ...] | Exception]:
    async with open_core(settings) as core:
        chosen = _choose(core, cells)
        with _progress() as tell:
            runs = [_run_cell(DayEnd(core, cell, tell, patience), close) for cell in chosen]
            return dict(zip(chosen, await asyncio.gather(*runs), strict=True))


async def _run_cell(run: DayEnd, close: Close) -> tuple[DayClosed, ...] | Exception:
    try:
        return await close(run)
    except (DayNotOpen, CellUnavailable) as error:
        return error


async def _close_one(run: DayEnd, day: dt.date | None, ahead: bool) -> DayClosed:
    if not ahead and await run.read_open_day() > read_calendar():
        raise DayNotOpen("its date is ahead of the calendar: needs --ahead")
    return await run.run(day)


async def _read_cells(cells: Sequence[str], day: dt.date | None) -> list[dict[str, Any]]:
    async with open_core(onlooker_settings()) as core:
        return [await _read_cell(core, cell, day) for cell in _choose(core, cells)]


async def _read_cell(core: LendingCore, cell: str, day: dt.date | None) -> dict[str, Any]:
    try:
        row = await read_status(core, cell)
        if day is not None:
            row["fingerprint"] = await read_day_fingerprint(core, cell, day)
    except CellUnavailable:
        row = {"business_date": None, "day_end_of": None, "begun_on": None, "steps": {}, "away": True}
    open_day, begun_on = (_day_of(row[name]) for name in ("business_date", "begun_on"))
    return row | {"cell": cell, "days_late": count_days_late(open_day, begun_on, _read_now())}


def _day_of(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - a command is a shell: it reads the clock


async def read_day_fingerprint(core: LendingCore, cell: str, day: dt.date) -> str:
    """Return the SM3 over all that day-end wrote for a day in a cell."""

    async def work(connection: Connection, epoch: int) -> str:
        return await read_fingerprint(connection, day)

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


def _choose(core: LendingCore, cells: Sequence[str]) -> tuple[str, ...]:
    if unknown := [cell for cell in cells if cell not in core.router.cells]:
        raise click.UsageError(f"no cell {', '.join(unknown)}; there are: {', '.join(core.router.cells)}")
    return tuple(cells) or core.router.cells


@contextmanager
def _progress() -> Iterator[Tell]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[tuple[str, Step], TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:

        def tell(cell: str, step: Step, done: int, of: int) -> None:
            if (cell, step) not in tasks:
                tasks[cell, step] = progress.add_task(f"cell {cell}: {step}", total=of)
            progress.update(tasks[cell, step], completed=done)

        yield tell
