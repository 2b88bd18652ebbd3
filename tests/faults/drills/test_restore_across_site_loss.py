"""A whole site is lost under load: its cell is restored to before and after that, from either archive."""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from replication.backup.restore import discard, restored_copy
from replication.model import Site
from replication.postgres.copy import Copy
from runbooks.drills.history import read_history
from runbooks.drills.records import History, Op, Outcome
from tests.integration.failover.town import biyi, settings_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

APART = 2_000_000_000
"""Nanoseconds from an instant to the loss behind it, and from the first write after the loss to the other."""


@dataclass(frozen=True)
class Lost:
    """A stand whose site idc was lost and came back, and the two instants (CLOCK_MONOTONIC ns)."""

    home: Path
    history: History
    before_ns: int
    after_ns: int

    def writes(self) -> list[Op]:
        return [op for op in self.history.settled() if op.is_write and op.cell == "a"]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    home = tmp_path_factory.mktemp("lost")
    try:
        up = biyi(home, "stand", "up")
        assert up.returncode == 0, up.stderr
        taken = biyi(home, "backup", "now", "--cell", "a", "--full")
        assert taken.returncode == 0, taken.stderr
        drill = biyi(home, "drill", "run", "site-loss", "--site", "idc", "--execute", "--json")
        plain = json.loads(drill.stdout)
        assert plain["lost"] == 0, json.dumps(plain, indent=1)
        history = read_history(Path(plain["evidence"]) / "history.jsonl")
        kill = history.mark_ns("kill")
        assert kill is not None
        writes = [op for op in history.ops if op.cell == "a" and op.is_write and op.outcome is Outcome.OK]
        epoch = max(op.epoch for op in writes if op.completed_ns < kill)
        again = min(op.completed_ns for op in writes if op.epoch > epoch)
        yield Lost(home, history, kill - APART, again + APART)
    finally:
        biyi(home, "stand", "down")


def wall(mono_ns: int) -> datetime:
    return datetime.now(UTC) - timedelta(microseconds=(time.monotonic_ns() - mono_ns) / 1000)


@pytest.fixture
def into() -> Iterator[Path]:
    """A directory that PostgreSQL's user can reach (pytest's tmp_path it cannot)."""
    made = Path(tempfile.mkdtemp(prefix="biyi-test-", dir="/tmp"))
    made.chmod(0o755)
    yield made / "restored"
    shutil.rmtree(made)


def restore(lost: Lost, into: Path, at: datetime, site: str) -> tuple[dict[str, Any], set[str]]:
    """Restore cell a by the command line; return what it found and the commands that are there."""
    words = ("--to", at.isoformat(), "--site", site, "--into", str(into), "--leave-running", "--json")
    done = biyi(lost.home, "restore", "--cell", "a", *words)
    assert done.stdout, done.stderr
    plain: dict[str, Any] = json.loads(done.stdout)
    settings = settings_of(lost.home, Site(site))
    like = Copy.of_place(settings, settings.place(f"a-{site}-0"))
    try:
        with psycopg.connect(
            host=plain["host"], port=plain["port"], user="biyi_admin", dbname="biyi",
            passfile=str(settings.passfile),
        ) as conn:  # fmt: skip
            keys = {row[0] for row in conn.execute("select idempotency_key from core.commands")}
    finally:
        asyncio.run(discard(restored_copy("a", like, into, plain["port"])))
    assert done.returncode == 0, json.dumps(plain, indent=1)
    return plain, keys


@pytest.mark.parametrize("site", ["cloud", "idc"])
@pytest.mark.parametrize("instant", ["before", "after"])
def test_a_restore_holds_what_was_acknowledged_and_nothing_that_came_later(
    lost: Lost, into: Path, site: str, instant: str
) -> None:
    at_ns = lost.before_ns if instant == "before" else lost.after_ns
    plain, keys = restore(lost, into, wall(at_ns), site)
    acknowledged = {op.key for op in lost.writes() if op.outcome is Outcome.OK and op.completed_ns < at_ns}
    later = {op.key for op in lost.writes() if op.invoked_ns > at_ns}
    assert acknowledged
    assert later
    assert (acknowledged - keys, later & keys) == (set(), set())
    assert plain["compared_with_live"]
    assert [check["value"] for check in plain["checks"]] == [0, 0, 0]
    assert all((table["lost"], table["foreign"]) == (0, 0) for table in plain["tables"])
    assert plain["timeline"] > 1
