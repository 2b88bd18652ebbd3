"""`biyi restore`: a cell as it was at a chosen second, in a fresh directory, checked and timed."""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from replication.backup.archive import current_archive
from replication.backup.errors import BackupError, TargetOutsideArchive
from replication.backup.health import write_restore
from replication.backup.plan import Range, find_range
from replication.backup.restore import Restored, discard, restore, restored_copy
from replication.model import DATA_SITES
from replication.postgres import control
from replication.postgres.copy import Copy
from replication.settings import PlaceSettings
from runbooks.backup import Place, Tell, places, progress, run
from runbooks.cells import read_statuses, summarise
from runbooks.restored import Findings, check_restored
from runbooks.stand.binaries import can_traverse
from runbooks.stand.home import is_free
from runbooks.stand.ports import HIGHEST_PORT

_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; `into` None: restored, checked, and removed again."""

    cell: str
    to: datetime
    site: str | None
    into: Path | None
    leave_running: bool


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 instant with its zone; click.UsageError without one."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--to {text!r}: needs an instant such as 2026-11-22T05:30:00Z") from error
    if instant.tzinfo is None:
        raise click.UsageError(f"--to {text!r}: needs its zone, such as {text}Z")
    return instant.astimezone(UTC)


def choose_place(found: list[Place], to: datetime) -> Place:
    """Return the archive to restore from: of those that hold the instant, the one on the newest timeline.

    An archive that was cut off with an abandoned history claims its last seconds too, but on an older
    timeline. TargetOutsideArchive names what each site has.
    """
    reaches: list[str] = []
    best: tuple[int, int, Place] | None = None
    for order, place in enumerate(found):
        timeline, reach = _reach(place)
        if reach.first is None or reach.last is None:
            reaches.append(f"{place.site}: nothing")
            continue
        reaches.append(f"{place.site}: from {reach.first.isoformat()} to {reach.last.isoformat()}")
        if reach.first <= to <= reach.last and (best is None or timeline > best[0]):
            best = (timeline, order, place)
    if best is None:
        raise TargetOutsideArchive(f"{to.isoformat()} is in no archive; {'; '.join(reaches)}")
    return best[2]


def _reach(place: Place) -> tuple[int, Range]:
    archive = current_archive(place.backup.directory, place.cell, place.key)
    seen = archive.read_progress() if archive else None
    if archive is None or seen is None:
        return 0, Range(None, None)
    ancestry = archive.ancestry(seen.timeline)
    return seen.timeline, find_range(archive.backups(), ancestry, seen.covered_until)


@click.command("restore")
@click.option("--cell", required=True, help="The cell to restore.")
@click.option("--to", required=True, help="The instant, ISO 8601 with zone: 2026-11-22T05:30:00Z.")
@click.option("--site", type=click.Choice([str(s) for s in DATA_SITES]), help="From this site's archive.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="A fresh directory to keep; without it the cell is restored, checked, and removed again.",
)
@click.option("--leave-running", is_flag=True, help="With --into: leave the restored server up.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def restore_command(
    *, cell: str, to: str, site: str | None, into: Path | None, leave_running: bool, as_json: bool
) -> None:
    """Restore CELL as it was at an instant and prove it; the running cells are not touched.

    The restored server admits the local administrator only, on a port of its own, and follows nobody.
    Then every row is compared with the living cell, and debits with credits. Exit 1: refused, or a
    check failed.
    """
    if leave_running and into is None:
        raise click.UsageError("--leave-running needs --into")
    wish = Wish(cell, parse_instant(to), site, into.absolute() if into else None, leave_running)
    with progress(f"restore {cell}") as tell:
        plain, findings = run(restore_cell(wish, tell))
    if as_json:
        click.echo(json.dumps(plain))
    else:
        _print(plain, findings)
    sys.exit(0 if findings.good else 1)


async def restore_cell(wish: Wish, tell: Tell) -> tuple[dict[str, Any], Findings]:
    """Restore, compare with the living cell, keep or remove; return what `--json` prints and the findings."""
    begun = time.monotonic()
    place = choose_place(places(wish.cell, wish.site), wish.to)
    copy = _target(place, wish)
    live = await _living_primary(place)
    restored = await restore(place.archive(), copy, wish.to, tell)
    keep = False
    try:
        compared = time.monotonic()
        findings = await check_restored(copy, live, wish.to, tell)
        restored.seconds["compare"] = round(time.monotonic() - compared, 3)
        keep = wish.into is not None
    finally:
        if not keep:
            await asyncio.shield(discard(copy))
        elif not wish.leave_running:
            await control.stop(copy, mode="fast", timeout_seconds=_STOP_SECONDS)
    plain = _plain(place, wish, restored, findings)
    plain["seconds"]["all"] = round(time.monotonic() - begun, 3)
    if findings.good:
        write_restore(place.archive(), plain)
    return plain, findings


def _target(place: Place, wish: Wish) -> Copy:
    source = place.source().copy
    stamp = f"{wish.to:%Y%m%dT%H%M%SZ}"
    into = wish.into or place.backup.staging / f"restored-{wish.cell}-{stamp}"
    into.parent.mkdir(parents=True, exist_ok=True)
    if source.run_as is not None and not can_traverse(into.parent, source.run_as):
        raise BackupError(
            f"{into}: PostgreSQL's user {source.run_as} cannot get there; choose another --into"
        )
    sockets = Path(source.place.host)
    port = next(p for p in range(HIGHEST_PORT, 0, -1) if is_free(p) and is_free(sockets / f".s.PGSQL.{p}"))
    return restored_copy(wish.cell, source, into, port)


async def _living_primary(place: Place) -> PlaceSettings | None:
    """Return the primary as seen from the archive's site; None when no agent answers."""
    rows = summarise(await read_statuses())
    name = next((str(row["primary"]) for row in rows if row["cell"] == place.cell), None)
    return place.settings.place(name) if name else None


def _plain(place: Place, wish: Wish, restored: Restored, findings: Findings) -> dict[str, Any]:
    return {
        "cell": wish.cell,
        "to": wish.to.isoformat(),
        "site": place.site,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - a runbook stamps people's time
        "good": findings.good,
        "compared_with_live": findings.compared,
        "chain": list(restored.chain),
        "timeline": restored.timeline,
        "segments": restored.segments,
        "last_commit": restored.last_commit.isoformat() if restored.last_commit else None,
        "into": str(wish.into) if wish.into else None,
        "host": restored.copy.place.host if wish.leave_running else None,
        "port": restored.copy.place.port if wish.leave_running else None,
        "seconds": restored.seconds,
        "tables": [asdict(table) for table in findings.tables],
        "checks": [asdict(zero) for zero in findings.zeros],
    }


def _print(plain: dict[str, Any], findings: Findings) -> None:
    console = Console()
    table = Table(
        "table", "rows", "SM3 of its rows", "equal in the living cell", "changed since", "lost", "foreign"
    )
    for found in findings.tables:
        numbers = (found.same_rows, found.later_changed, found.lost, found.foreign)
        shown = ["-" if number is None else str(number) for number in numbers]
        table.add_row(found.name, str(found.rows), found.sm3[:16], *shown)
    console.print(table)
    for zero in findings.zeros:
        console.print(f"{zero.name}: {zero.value}{'' if zero.good else '  must be 0'}", highlight=False)
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in plain["seconds"].items())
    console.print(f"from {plain['site']}: {len(plain['chain'])} backup(s), {plain['segments']} segment(s), "
                  f"last commit {plain['last_commit'] or 'none'}; {steps}", highlight=False)  # fmt: skip
    if plain["into"]:
        where = f", -h {plain['host']} -p {plain['port']}" if plain["port"] else ", stopped"
        console.print(f"kept in {plain['into']}{where}", highlight=False)
    if not findings.compared:
        console.print("no living primary answered: the rows were hashed, not compared", highlight=False)
    console.print("the restore holds" if findings.good else "THE RESTORE DOES NOT HOLD", highlight=False)
