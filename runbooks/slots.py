"""`biyi slot list | move | abort`: who has which customers, and moving some while they go on."""

import asyncio
import datetime as dt
import functools
import getpass
import json
import math
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

import click
import psycopg
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from core_app.directory import CHUNKS, Directory, Moving
from core_app.errors import CoreError
from core_app.moving.checks import MoveRefused, read_chunks
from core_app.moving.copying import RowsDiffer
from core_app.moving.move import MovedChunk, Mover, MoveUnsettled, Step
from core_app.moving.record import DirectoryUnsure, read_record
from core_app.moving.statements import ChunkElsewhere
from core_app.moving.watch import read_age_seconds
from core_app.slots import CHUNK_SLOTS, SLOTS, name_chunk
from replication.etcd import Etcd, EtcdUnavailable
from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.cells import site_settings, utc_now
from runbooks.slot_sessions import open_owner

T = TypeVar("T")
Tell = Callable[[Step, str, int], Awaitable[None]]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_SLOTS = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
_WORDS = {
    Step.JOURNAL: "writing it into the journal",
    Step.COPY: "copying while customers go on",
    Step.FENCE: "stopping these customers for a moment",
    Step.REST: "copying the rest, comparing",
    Step.DECIDE: "handing over",
    Step.TELL: "telling the entrances",
    Step.CLEAN: "taking the old rows away",
    Step.END: "closing the journal",
}
_WORKED_ON = {
    True: "somebody is at it",
    False: "nobody is at it: it was left behind; give the same move again, or `biyi slot abort`",
    None: "whether somebody is at it is not known: a cell does not answer",
}


@click.group("slot")
def slot() -> None:
    """Move customers, slot by slot, from one running cell to another while they go on.

    \b
    Where are they:      biyi slot list
    Move some:           biyi slot move 512-515 --to a
    A move that died:    the same command again, or biyi slot abort
    """


@slot.command("list")
@_JSON
def list_command(as_json: bool) -> None:
    """Show which cell has which slots, and a move that is under way or was left behind."""
    directory, worker = asyncio.run(_with_mover(_look, _tell_nobody))
    owned = {cell: _ranges(directory, cell) for cell in sorted({*directory.dealt, *directory.moved.values()})}
    if as_json:
        left = asdict(directory.moving) | {"worked_on": worker} if directory.moving else None
        epochs = {name_chunk(chunk): epoch for chunk, epoch in sorted(directory.epochs.items())}
        click.echo(json.dumps({"cells": owned, "moves": epochs, "moving": left}))
        return
    table = Table("cell", "slots", "how many")
    for cell, ranges in owned.items():
        table.add_row(cell, ", ".join(ranges), str(sum(map(_width, ranges))))
    Console().print(table)
    if (moving := directory.moving) is not None:
        click.echo(
            f"slots {name_chunk(moving.chunk)}: {moving.phase} from {moving.source} to {moving.target},"
            f" begun by {moving.by} {_since(moving)} ago; {_WORKED_ON[worker]}"
        )


@slot.command("move")
@click.argument("slots", nargs=-1, required=True)
@click.option("--to", "target", required=True, help="The cell that shall have them.")
@_JSON
def move_command(slots: Sequence[str], target: str, as_json: bool) -> None:
    """Move SLOTS (`512-515`, or each by its number) to another cell, four by four.

    No request fails: those of these customers wait for a moment at the end. Whatever ends it, it is either
    done or as if nothing had been; the same command goes on with one that was left behind. Exit 0 done, 1
    refused with nothing changed, 3 left in doubt: run it again, or `biyi slot abort`.
    """
    chunks = _guarded(lambda: read_chunks(_read_slots(slots)))
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    done: list[MovedChunk] = []
    with Progress(*columns, console=console, disable=as_json, transient=True) as progress:
        line = progress.add_task("looking at the cells", total=None)

        async def tell(chunk: int, step: Step, name: str, rows: int) -> None:
            about = f"{_WORDS[step]} ({name}: {rows:,} rows)" if name else _WORDS[step]
            progress.update(line, description=f"slots {name_chunk(chunk)} to {target}: {about}")

        for chunk in chunks:
            told = functools.partial(tell, chunk)
            moved = _guarded(functools.partial(_move, chunk, target, told))
            done += [moved] if moved else []
    if as_json:
        click.echo(json.dumps({"moved": [asdict(one) | {"slots": name_chunk(one.chunk)} for one in done]}))
        return
    for one in done:
        click.echo(
            f"slots {name_chunk(one.chunk)}: {sum(one.rows.values()):,} rows from {one.source} to"
            f" {one.target} in {one.seconds:.1f} s; their customers waited {one.pause_seconds:.3f} s;"
            f" SM3 {one.digest[:16]}"
        )
    if not done:
        click.echo(f"they are in cell {target} already")


@slot.command("abort")
@_JSON
def abort_command(as_json: bool) -> None:
    """Undo a move that was left behind, ending whoever is still at it; refused when it is decided already."""
    undone = _guarded(lambda: asyncio.run(_with_mover(lambda mover: mover.abort(), _tell_nobody)))
    if as_json:
        click.echo(json.dumps({"undone": asdict(undone) if undone else None}))
    elif undone:
        click.echo(f"slots {name_chunk(undone.chunk)} stay in cell {undone.source}: nothing was changed")
    else:
        click.echo("no move is under way")


def _move(chunk: int, target: str, tell: Tell) -> MovedChunk | None:
    """Move a chunk; undone when it is interrupted."""
    try:
        return asyncio.run(_with_mover(lambda mover: mover.move(chunk, target), tell))
    except KeyboardInterrupt:
        click.echo("interrupted: undoing", err=True)
        asyncio.run(_with_mover(lambda mover: mover.abort(), _tell_nobody))
        raise


async def _look(mover: Mover) -> tuple[Directory, bool | None]:
    """Return the directory, and whether somebody is at the move in it; None: a cell did not say."""
    directory = (await read_record(mover.etcd, mover.cells)).directory
    if directory.moving is None:
        return directory, None
    try:
        return directory, await mover.find_worker(directory.moving) is not None
    except (CoreError, EtcdUnavailable, psycopg.Error, OSError, TimeoutError):
        return directory, None


def _since(moving: Moving) -> str:
    age = read_age_seconds(moving, utc_now())
    return str(dt.timedelta(seconds=round(age))) if math.isfinite(age) else f"({moving.at})"


async def _with_mover(work: Callable[[Mover], Awaitable[T]], tell: Tell) -> T:
    settings = next(iter(site_settings().values()))
    async with open_etcd(settings) as etcd:
        return await work(make_mover(settings, etcd, tell))


def open_etcd(settings: SiteSettings) -> Etcd:
    """Return the stand's etcd, called as the operator; to be entered."""
    return Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd"))


def make_mover(settings: SiteSettings, etcd: Etcd, tell: Tell) -> Mover:
    """Return a mover of this operator's."""
    return Mover(
        etcd,
        tuple(cell.name for cell in settings.cells),
        functools.partial(open_owner, settings, etcd),
        f"operator:{getpass.getuser()}",
        lambda: utc_now().isoformat(),
        time.monotonic,
        tell,
    )


async def _tell_nobody(step: Step, name: str, rows: int) -> None:
    """Hear nothing."""


def _guarded(act: Callable[[], T]) -> T:
    """Act; end with 1 where it was refused and with 3 where it was left in doubt, in words."""
    try:
        return act()
    except (MoveRefused, RowsDiffer, ChunkElsewhere) as error:
        click.echo(f"biyi slot: {error}", err=True)
        sys.exit(1)
    except (MoveUnsettled, DirectoryUnsure) as error:
        click.echo(f"biyi slot: {error}", err=True)
        sys.exit(3)
    except (CoreError, EtcdUnavailable, psycopg.Error, OSError, TimeoutError) as error:
        click.echo(
            f"biyi slot: {type(error).__name__}: {error}; `biyi slot list` shows what is left", err=True
        )
        sys.exit(3)


def _read_slots(words: Sequence[str]) -> list[int]:
    found: list[int] = []
    for word in words:
        match = _SLOTS.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (SLOTS, SLOTS)
        if not first <= last < SLOTS:
            raise click.UsageError(f"{word!r}: needs a slot or a range of slots, 0 to {SLOTS - 1}")
        found += range(first, last + 1)
    return found


def _ranges(directory: Directory, cell: str) -> list[str]:
    """Return a cell's slots as ranges, neighbours joined."""
    bounds: list[list[int]] = []
    for chunk in range(CHUNKS):
        if directory.cell_of_chunk(chunk) == cell:
            if bounds and bounds[-1][1] == chunk - 1:
                bounds[-1][1] = chunk
            else:
                bounds.append([chunk, chunk])
    return [f"{first * CHUNK_SLOTS}-{(last + 1) * CHUNK_SLOTS - 1}" for first, last in bounds]


def _width(text: str) -> int:
    first, _, last = text.partition("-")
    return int(last) - int(first) + 1
