"""One copy's real server behind the failover loop's port (`replication.failover.ports.CopyServer`).

A thin joint: every method is one call into this package, through the agent's standing connection.
"""

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

from replication.failover.ports import Directory, StoppedServer
from replication.model import CopyId
from replication.postgres import bootstrap, conf, control, hba, quarantine, replica, timelines
from replication.postgres.copy import Copy, PostgresError
from replication.postgres.observe import ServerStatus, read_status
from replication.postgres.processes import POLL_SECONDS
from replication.postgres.standing import StandingConnection
from replication.postgres.write_probe import WriteProbe
from replication.settings import PlaceSettings

log = logging.getLogger("biyi.agent")


class PostgresServer:
    """The PostgreSQL of one own place."""

    def __init__(self, copy: Copy, quarantine_dir: Path, write_probe_ms: int) -> None:
        self._copy = copy
        self._standing = StandingConnection(self._copy)
        self._probe = WriteProbe(copy, write_probe_ms)
        self._quarantine = quarantine_dir
        self._opened = False

    @property
    def place(self) -> PlaceSettings:
        """Where the copy stands."""
        return self._copy.place

    async def read_directory(self) -> Directory:
        """Look at the directory and for its postmaster."""
        copy = self._copy
        free = _free_bytes(copy.data_dir.parent)
        if control.is_broken(copy) or not control.has_data(copy):
            return Directory(control.has_data(copy), control.is_broken(copy), False, False, None, free)
        standby, own_id = control.is_standby_directory(copy), control.read_copy_id(copy)
        free = min(free, _free_bytes(copy.data_dir), _free_bytes(copy.data_dir / "pg_wal"))
        return Directory(True, False, await control.is_running(copy), standby, own_id, free)

    async def read_stopped(self) -> StoppedServer:
        """Read the control file; PostgresError when it cannot be read."""
        facts = await control.read_control(self._copy)
        return StoppedServer(facts.state is control.ClusterState.SHUT_DOWN, facts.timeline)

    async def read_status(self) -> ServerStatus:
        """Look at the running server; psycopg.Error, TimeoutError or OSError when it does not answer."""
        status = await read_status(await self._standing.get())
        if status.in_recovery:
            return status
        owed = self._probe.look(status.wal_flush_lsn)
        return replace(status, flush_unanswered_ms=owed.flush_ms, door_unanswered_ms=owed.door_ms)

    def is_open(self) -> bool:
        """Say whether this process has opened it and its pg_hba.conf still says so.

        The file alone proves nothing: an agent that ended before the reload left it open on a fenced
        server, and nobody would ever open it. Opening an open server again is harmless.
        """
        return self._opened and hba.is_open(self._copy)

    async def release(self) -> None:
        """Drop the standing connections; the next use makes others."""
        await self._probe.close()
        await self._standing.close()

    def new_copy_id(self) -> CopyId:
        """Return a fresh random id at this place."""
        return replica.new_copy_id(self._copy.place)

    async def initialise(self, own_id: CopyId) -> None:
        """Make a new cluster and write its id into it."""
        await control.initialise(self._copy)
        control.write_copy_id(self._copy, own_id)

    async def create_roles_and_database(self) -> None:
        """Make what a new cell's first primary needs."""
        await bootstrap.create_roles_and_database(self._copy)

    async def start(self) -> None:
        """Start the server."""
        await control.start(self._copy)

    async def stop_clean(self, timeout_seconds: float) -> None:
        """Stop the server the fast way."""
        if await control.is_running(self._copy):
            await control.stop(self._copy, mode="fast", timeout_seconds=timeout_seconds)

    async def kill_hard(self) -> None:
        """Kill the postmaster's whole tree."""
        await control.kill_hard(self._copy)

    async def become_standby(self, upstream: PlaceSettings | None, own_id: CopyId) -> None:
        """Make the stopped directory a standby as it is."""
        await replica.become_standby(self._copy, upstream, own_id)

    async def can_follow_directly(self, upstream: PlaceSettings) -> bool:
        """Compare the stopped directory with the upstream's history."""
        return await replica.can_follow_directly(self._copy, upstream)

    async def clone(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Copy the upstream."""
        await replica.clone(self._copy, upstream, own_id)

    async def ask_upstream(self, upstream: PlaceSettings) -> None:
        """Have the upstream write its timeline where pg_rewind reads it."""
        await replica.ask_upstream(self._copy, upstream)

    async def rewind(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Write down what only a former primary has, then run pg_rewind against the upstream.

        A directory that cannot be asked is kept aside, and the place is empty then: it is cloned.
        """
        if not control.is_standby_directory(self._copy):
            await self._write_down_lost_rows(upstream)
        await replica.rewind(self._copy, upstream, own_id)

    async def _write_down_lost_rows(self, upstream: PlaceSettings) -> None:
        report = self._quarantine / f"{control.read_copy_id(self._copy)}.jsonl"
        try:
            found = await quarantine.export_lost_rows(self._copy, upstream, report)
        except quarantine.LostRowsUnread as error:
            aside = await quarantine.set_aside(self._copy)
            raise PostgresError(f"{error}; kept as {aside}") from error
        if found.report is not None:
            log.warning("%d rows of %d commits were only here: %s", found.rows, found.transactions, report)

    async def follow(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Point the running standby at the upstream."""
        await conf.set_upstream(self._copy, await self._standing.get(), upstream, own_id)

    async def stop_receiver(self, own_id: CopyId) -> None:
        """End the WAL receiver and replay to the end."""
        await replica.stop_receiver(self._copy, await self._standing.get(), own_id)

    async def promote(self, timeline: int, timeout_seconds: float) -> int:
        """Promote onto the reserved timeline; return the new one."""
        connection = await self._standing.get()
        timelines.reserve(self._copy, await replica.read_timeline(connection), timeline)
        return await replica.promote(self._copy, connection, timeout_seconds=timeout_seconds)

    async def set_sync_names(self, names: frozenset[CopyId]) -> None:
        """Set synchronous_standby_names, proven by a checkpoint."""
        await conf.set_sync_names(self._copy, await self._standing.get(), names)

    async def write_marker(self, epoch: int, own_id: CopyId, timeout_seconds: float) -> int:
        """Commit the marker on the standing connection: dropped when it takes too long, never cancelled.

        Customers of a new primary wait for it, and a connection of its own would take as long again.
        """
        connection = await self._standing.get()
        return await bootstrap.write_epoch_marker(
            connection, epoch, own_id, wait_for_copies=False, timeout_seconds=timeout_seconds
        )

    async def wait_flushed(self, copy: CopyId, lsn: int, timeout_seconds: float) -> bool:
        """Ask pg_stat_replication until it says so."""
        connection = await self._standing.get()
        deadline = time.monotonic() + timeout_seconds
        while not await replica.has_flushed(connection, copy, lsn):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def checkpoint(self) -> None:
        """Write a checkpoint."""
        await (await self._standing.get()).execute("checkpoint")

    def write_fenced(self) -> None:
        """Write the fenced pg_hba.conf."""
        hba.write_fenced(self._copy)

    async def fence(self) -> None:
        """Prepare the clean stop that follows."""
        await hba.fence(self._copy, await self._standing.get())

    async def open_to_clients(self) -> None:
        """Admit the core."""
        self._opened = False
        await hba.open_to_clients(self._copy, await self._standing.get())
        self._opened = True

    async def wait_until_idle(self, timeout_seconds: float) -> None:
        """Wait for running transactions of the core, at most so long."""
        connection = await self._standing.get()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await hba.wait_until_idle(connection)


def _free_bytes(directory: Path) -> int:
    """Return what PostgreSQL's user may still write to the disk of `directory`; 0 when it cannot be asked."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize
