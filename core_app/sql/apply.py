"""Apply the numbered migrations to one database, each once, in order, in one transaction each.

A database that has none yet gets all of them in one transaction: nobody uses it, so nobody waits for its
locks, and a crash leaves it empty. One in use gets each alone: no lock is held longer than its change takes.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from core_app.errors import CoreError

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x62697969
"""Advisory lock of the migrations ("biyi"): two starters take turns. Source: our choice."""

_RECORD = """
create schema if not exists biyi_migrations;
create table if not exists biyi_migrations.applied (
    name   text primary key,
    sha256 text not null,
    at     timestamptz not null default now()
)
"""
_NOTE = "insert into biyi_migrations.applied (name, sha256) values (%s, %s)"


class MigrationChanged(CoreError):
    """An applied migration file is gone or was edited; a change needs a new file."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `name` sorts by its number, `sha256` is of its bytes."""

    name: str
    sha256: str
    statements: str


def read_migrations(folder: Path = MIGRATIONS) -> tuple[Migration, ...]:
    """Return the migrations of `folder` in order."""
    files = sorted(folder.glob("[0-9][0-9][0-9]_*.sql"))
    return tuple(
        Migration(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), file.read_text(encoding="utf-8"))
        for file in files
    )


def plan_migrations(wanted: tuple[Migration, ...], applied: dict[str, str]) -> tuple[Migration, ...]:
    """Return what is still to apply; MigrationChanged when an applied file differs or is missing. Pure."""
    known = {migration.name: migration.sha256 for migration in wanted}
    for name, sha256 in applied.items():
        if known.get(name) != sha256:
            found = "is missing here" if name not in known else "was edited after it was applied"
            raise MigrationChanged(f"migration {name} {found}: needs the applied text and a new file")
    return tuple(migration for migration in wanted if migration.name not in applied)


async def apply_migrations(
    connection: psycopg.AsyncConnection[TupleRow], wanted: tuple[Migration, ...]
) -> tuple[str, ...]:
    """Bring one database up to date and return the names applied now; safe to run twice, or at once.

    `connection` is biyi_owner's, in autocommit mode.
    """
    await connection.execute("select pg_advisory_lock(%s)", [_LOCK])
    try:
        await connection.execute(_RECORD)
        rows = await connection.execute("select name, sha256 from biyi_migrations.applied")
        todo = plan_migrations(wanted, dict(await rows.fetchall()))
        fresh = len(todo) == len(wanted)
        for together in (todo,) if fresh else tuple((one,) for one in todo):
            async with connection.transaction():
                for migration in together:
                    # A migration is our own file, several statements long: SQL, not a value.
                    try:
                        await connection.execute(SQL(migration.statements))
                    except psycopg.Error as error:
                        error.add_note(f"in migration {migration.name}")
                        raise
                    await connection.execute(_NOTE, [migration.name, migration.sha256])
        return tuple(migration.name for migration in todo)
    finally:
        await connection.execute("select pg_advisory_unlock(%s)", [_LOCK])
