"""The handle of one copy: its directory, its programs, its user, its passwords."""

import asyncio
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from replication.model import CopyId
from replication.settings import PlaceSettings, SiteSettings

ADMIN = "biyi_admin"
REPL = "biyi_repl"
OWNER = "biyi_owner"
APP = "biyi_app"
PAYER = "biyi_payer"
"""Pays out and collects: of the books only what its orders change."""
NOTICES = "biyi_notices"
"""Sends notices: sees borrowers and loans that one is open for."""
READ = "biyi_read"
STAFF = "biyi_staff"
"""The staff portal and access control: writes at an open primary, like the core."""
REPORT, UEBA = "biyi_report", "biyi_ueba"
"""Reports and behaviour scoring: they read at any copy, like the projector."""
AUDIT = "biyi_audit"
ROLES = (ADMIN, REPL, OWNER, APP, PAYER, NOTICES, STAFF, READ, AUDIT, REPORT, UEBA)
"""All that log in; each has a line in the passfile."""
DATABASE = "biyi"
ARCHIVER = "biyi-archiver"
"""application_name of the stream that feeds a site's archive: no planned move waits for it."""

COPY_ID_FILE = "biyi_copy_id"
STANDBY_SIGNAL = "standby.signal"
_TAIL_LINES = 8


class PostgresError(Exception):
    """PostgreSQL or one of its programs did not do what it was told; says which, and its last words."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program that ended well wrote."""

    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Copy:
    """One data directory of this site and how to run PostgreSQL on it.

    `run_as` is the unprivileged user for PostgreSQL when we are root, else None.
    """

    place: PlaceSettings
    pg_bin: Path
    run_as: str | None
    passfile: Path
    log_dir: Path | None = None

    @classmethod
    def of_place(cls, settings: SiteSettings, place: PlaceSettings) -> Self:
        """Return the handle of an own place; ValueError when its settings name no directory."""
        if place.data_dir is None:
            raise ValueError(f"place {place.name} stands at another site: it has no data_dir here")
        return cls(place, settings.pg_bin, settings.run_as, settings.passfile, settings.home_dir / "logs")

    @property
    def data_dir(self) -> Path:
        """Directory of the copy; may not exist yet."""
        if self.place.data_dir is None:
            raise ValueError(f"place {self.place.name}: no data_dir")
        return self.place.data_dir

    @property
    def log_file(self) -> Path:
        """Where the server writes its log; outside the directory, which clones and rewinds replace."""
        return (self.log_dir or self.data_dir.parent) / f"postgres-{self.place.name}.log"

    def beside(self, suffix: str) -> Path:
        """Return the path beside the directory that carries `suffix`; pg_rewind never touches it."""
        return self.data_dir.with_name(self.data_dir.name + suffix)


def read_password(passfile: Path, role: str) -> str:
    """Return the password of `role` in a libpq password file; PostgresError when it has none."""
    for line in passfile.read_text().splitlines():
        fields = line.split(":", 4)
        if len(fields) == 5 and fields[3] == role:
            return fields[4]
    raise PostgresError(f"{passfile}: no line for role {role}")


def has_data(copy: Copy) -> bool:
    """Say whether a whole data directory stands at the place."""
    return (copy.data_dir / "PG_VERSION").exists() and (copy.data_dir / "global" / "pg_control").exists()


def is_standby_directory(copy: Copy) -> bool:
    """Say whether the directory would start as a standby."""
    return (copy.data_dir / STANDBY_SIGNAL).exists()


def is_broken(copy: Copy) -> bool:
    """Say whether a rewind of the directory began and did not end: it can only be cloned anew."""
    return copy.beside(".broken").exists()


def mark_broken(copy: Copy, why: str) -> None:
    """Forbid starting the directory. The mark lies beside it: pg_rewind deletes what it does not know."""
    write_file(copy, copy.beside(".broken"), why + "\n")


def unmark_broken(copy: Copy) -> None:
    """Allow starting the directory again; only after it was made whole."""
    copy.beside(".broken").unlink(missing_ok=True)


def read_copy_id(copy: Copy) -> CopyId | None:
    """Return the id that stands in the directory, None when there is no readable one."""
    try:
        return CopyId.parse((copy.data_dir / COPY_ID_FILE).read_text().strip())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_copy_id(copy: Copy, copy_id: CopyId, *, directory: Path | None = None) -> None:
    """Name the (half-made) directory; a rewound or cloned one is another copy and gets another id."""
    write_file(copy, (directory or copy.data_dir) / COPY_ID_FILE, f"{copy_id}\n")


def write_file(copy: Copy, path: Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` in one piece, 0600, of PostgreSQL's user; if `durable` on disk before it is seen."""
    aside = path.with_name(path.name + ".tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    give_to_owner(copy, aside)
    aside.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Put a rename in `directory` on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(copy: Copy, path: Path) -> None:
    """Make an empty 0700 directory that PostgreSQL's user owns, in place of whatever was there."""
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700)
    give_to_owner(copy, path)


def give_to_owner(copy: Copy, path: Path) -> None:
    """Hand `path` to PostgreSQL's user when that is not us."""
    if copy.run_as is not None:
        entry = pwd.getpwnam(copy.run_as)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def as_owner(copy: Copy) -> dict[str, Any]:
    """Return the arguments of `create_subprocess_exec` that drop to PostgreSQL's user."""
    if copy.run_as is None:
        return {}
    entry = pwd.getpwnam(copy.run_as)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def program_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a small environment: ours could hold PG* variables that redirect a program."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC", **(extra or {})}


async def run_program(
    copy: Copy,
    name: str,
    *args: str,
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Completed:
    """Run a PostgreSQL program to its end as PostgreSQL's user.

    PostgresError with its last lines when it fails or takes over `timeout_seconds`; then, and when
    we are cancelled, its whole process group is killed. Passwords go in `env` (PGPASSWORD) only.
    """
    process = await asyncio.create_subprocess_exec(
        str(copy.pg_bin / name),
        *args,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env=program_environment(env),
        start_new_session=True,
        **as_owner(copy),
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            out, err = await process.communicate(stdin.encode() if stdin is not None else None)
    except TimeoutError:
        await _kill_group(process)
        raise PostgresError(f"{name} of {copy.place.name}: not done in {timeout_seconds:g} s") from None
    except asyncio.CancelledError:
        await _kill_group(process)
        raise
    stderr = err.decode(errors="replace")
    if process.returncode != 0:
        tail = " | ".join(stderr.strip().splitlines()[-_TAIL_LINES:])
        raise PostgresError(f"{name} of {copy.place.name}: exit {process.returncode}: {tail}")
    return Completed(out.decode(errors="replace"), stderr)


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a program and what it started (pg_basebackup and pg_rewind have children)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    await process.wait()
