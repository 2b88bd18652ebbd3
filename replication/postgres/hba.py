"""Who may connect: a fenced copy admits the agent and replication only, an open one the core too.

The roles of projector, reports and behaviour scoring read at both: they may write nothing anywhere, and what
they read decides nothing.
"""

import asyncio
import time
from pathlib import Path

from replication.postgres.conf import reload
from replication.postgres.copy import (
    ADMIN,
    APP,
    ARCHIVER,
    AUDIT,
    DATABASE,
    NOTICES,
    OWNER,
    PAYER,
    READ,
    REPL,
    REPORT,
    STAFF,
    UEBA,
    Copy,
    PostgresError,
    write_file,
)
from replication.postgres.observe import AdminConnection
from replication.postgres.processes import POLL_SECONDS
from replication.transport import plan_rule

_TERMINATE_SECONDS = 2.0
_WRITERS = [APP, OWNER, PAYER, NOTICES, STAFF, AUDIT]
"""Roles that write: a fenced copy admits none of them."""
_OPEN_MARK = "# biyi: open"


def _rules(copy: Copy, *more: str) -> str:
    """Return the rules that always stand, then `more`; whoever none of them names is refused."""
    readers = ",".join((READ, REPORT, UEBA))
    always = (f"all {ADMIN},{REPL}", f"replication {REPL}", f"{DATABASE} {readers}")
    rules = [plan_rule(copy.place, who) for who in (*always, *more)]
    return "".join(rules) + "local all all reject\nhost all all all reject\n"


def write_fenced(copy: Copy, *, directory: Path | None = None, durable: bool = True) -> None:
    """Write the fenced pg_hba.conf (of a half-made `directory`); takes effect at the next start or reload."""
    path = (directory or copy.data_dir) / "pg_hba.conf"
    write_file(copy, path, f"# biyi: fenced\n{_rules(copy)}", durable=durable)


def write_open(copy: Copy) -> None:
    """Write the open pg_hba.conf; takes effect at the next start or reload.

    Customers wait for it, and no crash of the machine makes it count: every start writes the fence anew.
    """
    rules = _rules(copy, f"{DATABASE} {','.join(_WRITERS)}")
    write_file(copy, copy.data_dir / "pg_hba.conf", f"{_OPEN_MARK}\n{rules}", durable=False)


def is_open(copy: Copy) -> bool:
    """Say whether the copy's pg_hba.conf admits the core."""
    try:
        return (copy.data_dir / "pg_hba.conf").read_text().startswith(_OPEN_MARK)
    except (FileNotFoundError, NotADirectoryError):
        return False


async def open_to_clients(copy: Copy, conn: AdminConnection) -> None:
    """Admit the core from now on."""
    write_open(copy)
    fresh = await reload(copy, conn)
    await fresh.close()


async def fence(copy: Copy, conn: AdminConnection) -> None:
    """Prepare the clean stop that follows at once, which admits nobody and ends all sessions itself.

    To refuse and end them before it, proven by a reload and a new session, took two fifths of a move's
    stop and made nothing safer: a COMMIT that waits for a copy ends as *unknown* either way. The file is
    not put on disk for the reason told at `write_open`. The archiver's stream ends before: a clean stop
    would wait until a slow archiver has everything, and customers with it. It takes the rest from this
    directory once its server runs again.
    """
    write_fenced(copy, durable=False)
    deadline = time.monotonic() + _TERMINATE_SECONDS
    # Told once, a sender whose archiver reads nothing stays for ever, writing to it why it ends.
    while await _terminate_archiver(conn) > 0:
        if time.monotonic() > deadline:
            raise PostgresError(f"{copy.place.name}: the archiver's stream survives {_TERMINATE_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)


async def wait_until_idle(conn: AdminConnection) -> None:
    """Wait until no session of the core is inside a transaction; bounded by the caller only.

    An auditor's long reading is not waited for, nor is the notary: it runs again what was cut off.
    """
    while True:
        cursor = await conn.execute(
            "select exists (select from pg_stat_activity where usename = any(%s) and xact_start is not null)",
            (_WRITERS,),
        )
        if await cursor.fetchone() == (False,):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _terminate_archiver(conn: AdminConnection) -> int:
    """Tell every stream of the archiver to end; return how many there still were."""
    cursor = await conn.execute(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where usename = %s and application_name = %s",
        (REPL, ARCHIVER),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
