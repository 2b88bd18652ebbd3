"""What only a lost primary has: found and written down before a rewind takes it back.

A commit that was never acknowledged may still be on the old primary's disk, and a customer may have
seen it there. The business reconciles it from this report; nothing is put back by itself.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from replication.model import WAL_SEGMENT_BYTES, WalName, format_lsn, parse_lsn
from replication.postgres.conf import SYNC_NAMES
from replication.postgres.control import read_control, start, stop
from replication.postgres.copy import (
    DATABASE,
    Copy,
    PostgresError,
    read_copy_id,
    run_program,
    sync_directory,
)
from replication.postgres.hba import write_fenced
from replication.postgres.observe import AdminConnection, connect_admin
from replication.postgres.processes import kill_all
from replication.postgres.replica import Timelines, parse_history, read_timelines
from replication.settings import PlaceSettings

_COMMIT = re.compile(r"rmgr: Transaction .*? tx: +(\d+), .*? desc: COMMIT ([^;]+?)(?:;|$)(.*)")
_SUBXACTS = re.compile(r"subxacts:((?: \d+)+)")
_DUMP_SECONDS = 120.0
_QUESTION_SECONDS = 3.0
_STOP_SECONDS = 20.0

_TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
  and n.nspname not like 'pg_toast%' order by 1, 2
"""
_ROWS = "select xmin::text::bigint, to_jsonb(t) from {} as t where xmin::text::bigint = any(%s)"


class LostRowsUnread(PostgresError):
    """The directory could not be asked what it alone has: it must be kept, whatever else is done."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What a report holds: commits after the fork that the new history lacks, and their rows."""

    transactions: int
    rows: int
    report: Path | None
    """None when there was nothing to report."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """WAL of one timeline, in bytes; `end_lsn` None: to its end."""

    timeline: int
    begin_lsn: int
    end_lsn: int | None


def parse_commits(waldump: str) -> dict[int, str]:
    """Return the transaction ids (subtransactions too) that `pg_waldump` shows committed, with the time."""
    commits: dict[int, str] = {}
    for line in waldump.splitlines():
        if found := _COMMIT.search(line):
            commits[int(found[1])] = found[2].strip()
            if subxacts := _SUBXACTS.search(found[3]):
                commits |= dict.fromkeys(map(int, subxacts[1].split()), found[2].strip())
    return commits


async def export_lost_rows(copy: Copy, upstream: PlaceSettings, report: Path) -> Quarantined:
    """Write the rows of commits that only this stopped former primary has, one JSON object a line.

    The server is started fenced and alone for it, and stopped again. PostgresError when the upstream
    cannot be asked (nothing was started); LostRowsUnread when the directory cannot be read.
    """
    facts = await read_control(copy)
    try:
        async with await connect_admin(upstream, copy.passfile, timeout_seconds=_QUESTION_SECONDS) as primary:
            theirs = await read_timelines(primary)
    except (psycopg.Error, TimeoutError, OSError) as error:
        raise PostgresError(f"history of {upstream.name}: {type(error).__name__}: {error}") from error
    own = parse_history(_own_history(copy, facts.timeline)) | {facts.timeline: None}
    stretches = find_stretches(own, theirs)
    if not stretches:
        raise PostgresError(
            f"{copy.place.name}: no fork between timeline {facts.timeline} and {upstream.name}"
        )
    try:
        commits, rows = await _read_alone(copy, stretches, report)
    except (PostgresError, psycopg.Error, TimeoutError, OSError) as error:
        raise LostRowsUnread(f"{copy.place.name}: {error}") from error
    return Quarantined(commits, rows, report if commits else None)


def find_stretches(own: Timelines, theirs: Timelines) -> list[Stretch]:
    """Return the WAL after the fork of two histories, by `own` timelines, oldest first.

    Empty when they do not fork: they have no timeline in common, or both still write the newest one.
    The newer history need not have the higher number: a candidate that failed after its promotion has
    a timeline that the primary which took the cell back never had.
    """
    common = [timeline for timeline in own if timeline in theirs]
    if not common:
        return []
    last = max(common)
    ends = [end for end in (own[last], theirs[last]) if end is not None]
    if not ends:
        return []
    begin, stretches = min(ends), []
    for timeline in sorted(t for t in own if t >= last):
        end = own[timeline]
        if end is None or end > begin:
            stretches.append(Stretch(timeline, begin, end))
        begin = max(begin, end or begin)
    return stretches


def _own_history(copy: Copy, timeline: int) -> str:
    path = copy.data_dir / "pg_wal" / f"{timeline:08X}.history"
    return path.read_text() if path.exists() else ""


async def _read_alone(copy: Copy, stretches: list[Stretch], report: Path) -> tuple[int, int]:
    write_fenced(copy)
    await start(copy, settings={SYNC_NAMES: "", "default_transaction_read_only": "on"})
    try:
        async with await connect_admin(
            copy.place, copy.passfile, dbname=DATABASE, timeout_seconds=_QUESTION_SECONDS
        ) as own:
            commits = await _read_commits(copy, own, stretches)
            return len(commits), await _write_report(copy, own, commits, report) if commits else 0
    finally:
        await stop(copy, mode="fast", timeout_seconds=_STOP_SECONDS)


async def _read_commits(copy: Copy, own: AdminConnection, stretches: list[Stretch]) -> dict[int, str]:
    row = await (await own.execute("select pg_current_wal_flush_lsn()::text")).fetchone()
    if row is None:
        raise PostgresError(f"{copy.place.name}: no end of WAL")
    commits: dict[int, str] = {}
    for stretch in stretches:
        end_lsn = parse_lsn(row[0]) if stretch.end_lsn is None else stretch.end_lsn
        ends = (stretch.begin_lsn, end_lsn - 1)
        done = await run_program(
            copy,
            "pg_waldump",
            f"--path={copy.data_dir / 'pg_wal'}",
            f"--timeline={stretch.timeline}",
            f"--start={format_lsn(stretch.begin_lsn)}",
            f"--end={format_lsn(end_lsn)}",
            "--rmgr=Transaction",
            # Named, or it takes the size of a segment from any file, also from one prepared and still empty.
            *(str(WalName(stretch.timeline, byte // WAL_SEGMENT_BYTES)) for byte in ends),
            timeout_seconds=_DUMP_SECONDS,
        )
        commits |= parse_commits(done.stdout)
    return commits


async def _write_report(copy: Copy, own: AdminConnection, commits: dict[int, str], report: Path) -> int:
    """Write aside and rename: a report is whole or not there. Fields of customers stay sealed in it."""
    report.parent.mkdir(parents=True, exist_ok=True)
    aside = report.with_suffix(".tmp")
    aside.touch(0o600)
    rows = 0
    await own.execute("set statement_timeout = 0")
    with aside.open("w", encoding="utf-8") as file:
        for schema, table in await (await own.execute(_TABLES)).fetchall():
            query = sql.SQL(
                "select xmin::text::bigint, to_jsonb(t) from {} as t where xmin::text::bigint = any(%s)"
            )
            cursor = await own.execute(query.format(sql.Identifier(schema, table)), (list(commits),))
            async for xid, row in cursor:
                entry = {"table": f"{schema}.{table}", "transaction": xid, "committed_at": commits[xid]}
                file.write(
                    json.dumps(entry | {"place": copy.place.name, "row": row}, ensure_ascii=False) + "\n"
                )
                rows += 1
    aside.replace(report)
    return rows


async def set_aside(copy: Copy) -> Path:
    """Move a stopped directory out of its place, so that it is kept and the place can be cloned."""
    await kill_all(copy)
    aside = copy.data_dir.with_name(f"{copy.data_dir.name}.aside-{read_copy_id(copy)}")
    copy.data_dir.rename(aside)
    sync_directory(aside.parent)
    return aside
