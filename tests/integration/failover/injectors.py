"""Faults that a stand knows nothing of: frozen server processes, a stalled disk, a stepped clock.

Disk and clock faults preload a small C library (shims/) into PostgreSQL, by a `pg_ctl` of our own in
front of the real one: no production code takes part, and neither root nor a kernel module is needed.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from replication.postgres.copy import Copy
from replication.postgres.processes import read_postmaster
from runbooks.stand.binaries import find_postgres
from tests.integration.frozen import freeze

SHIMS = Path(__file__).parent / "shims"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="no C compiler: a stalled disk or a stepped clock needs a preloaded library"
)


def server_process(copy: Copy, kind: str) -> psutil.Process:
    """Return a copy's server process: `postmaster`, or the first whose title says `kind` ("checkpointer")."""
    postmaster = read_postmaster(copy)
    assert postmaster is not None, f"{copy.place.name} does not run"
    if kind == "postmaster":
        return postmaster
    for child in postmaster.children():
        if kind in " ".join(child.cmdline()):
            return child
    raise AssertionError(f"{copy.place.name} has no {kind}: {[c.cmdline() for c in postmaster.children()]}")


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Freeze one process (SIGSTOP) while the block runs; it may be killed meanwhile."""
    freeze(process.pid)
    try:
        yield
    finally:
        if process.is_running():
            process.resume()


@contextmanager
def shim_room() -> Iterator[Path]:
    """A directory that PostgreSQL's user can read too, for shims and what steers them."""
    room = Path(tempfile.mkdtemp(prefix="biyi-shim-", dir="/tmp"))
    room.chmod(0o755)
    try:
        yield room
    finally:
        shutil.rmtree(room)


def build_shim(name: str, room: Path) -> Path:
    """Compile shims/<name>.c."""
    assert COMPILER is not None
    library = room / f"{name}.so"
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIMS / f"{name}.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    library.chmod(0o755)
    return library


def shimmed_programs(room: Path, directory: str, environment: Mapping[str, str]) -> Path:
    """Return a BIYI_PG_BIN whose servers get `environment` if their directory's path holds `directory`."""
    real, wrapped = find_postgres().bin_dir, room / "bin"
    wrapped.mkdir()
    for program in real.iterdir():
        if program.name != "pg_ctl":
            (wrapped / program.name).symlink_to(program)
    words = " ".join(f"{name}={value}" for name, value in environment.items())
    script = wrapped / "pg_ctl"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *{directory}*) export {words};; esac\nexec {real / "pg_ctl"} "$@"\n'
    )
    script.chmod(0o755)
    return wrapped
