"""The watchdog: a process beside an agent that ends its primaries when that agent stands still.

An agent that is frozen (SIGSTOP, swap, a stalled machine) cannot fence itself; its PostgreSQL would go
on serving old reads after another copy took over. It could not acknowledge a write, with or without
this process: that fence is replication itself (I4). Started by the agent; ends after it.

`python -m replication.watchdog --settings .biyi/idc/site.json --agent PID`
"""

import asyncio
import logging
import mmap
import os
import struct
import sys
import time
from pathlib import Path

import click

from replication.postgres import control, hba
from replication.postgres.copy import Copy, PostgresError
from replication.settings import SettingsError, SiteSettings, read_site_settings

log = logging.getLogger("biyi.watchdog")

_FORMAT = struct.Struct("<q")


def now_ms() -> int:
    """Return milliseconds on CLOCK_BOOTTIME, which no clock step touches and sleep does not stop."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def heartbeat_path(settings: SiteSettings) -> Path:
    """Return the file through which the agent shows that it runs.

    Agents of one site may share a directory: another's heartbeat must never stand for this one's.
    """
    own = settings.agent_places()[0].name + "." if settings.beats_by_copy() else ""
    return settings.home_dir / f"agent.{own}heartbeat"


class Heartbeat:
    """The agent's side: one mapped word, so that a beat is a store into memory and never waits for a disk."""

    def __init__(self, path: Path) -> None:
        """Go on from the beat of the agent before: a new agent has yet to confirm what it may keep."""
        if not 0 < read_heartbeat_ms(path) <= now_ms():
            path.write_bytes(_FORMAT.pack(now_ms()))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FORMAT.size)

    def beat(self) -> None:
        """Show that the agent's loop runs now."""
        self._map[:] = _FORMAT.pack(now_ms())


def read_heartbeat_ms(path: Path) -> int:
    """Return when the agent last beat (CLOCK_BOOTTIME, ms); 0 when it never did."""
    try:
        return int(_FORMAT.unpack(path.read_bytes())[0])
    except (FileNotFoundError, struct.error):
        return 0


async def end_primaries(settings: SiteSettings) -> list[str]:
    """Kill every own server that is no standby, fenced for its next start; return their places."""
    ended = []
    for place in settings.agent_places():
        copy = Copy.of_place(settings, place)
        if (
            control.has_data(copy)
            and not control.is_standby_directory(copy)
            and await control.is_running(copy)
        ):
            await control.kill_hard(copy)
            hba.write_fenced(copy)
            ended.append(place.name)
    return ended


async def watch(settings: SiteSettings, agent_pid: int) -> None:
    """End the site's primaries whenever the agent stands still for too long.

    Once the agent is gone this goes on until it had to act, or until a new agent (with a watchdog of its
    own) beats.
    """
    path = heartbeat_path(settings)
    orphaned_ms: int | None = None
    while True:
        await asyncio.sleep(settings.failover.watchdog_look_ms / 1000)
        beat_ms = read_heartbeat_ms(path)
        if orphaned_ms is None and os.getppid() != agent_pid:
            orphaned_ms = now_ms()
        if orphaned_ms is not None and beat_ms > orphaned_ms:
            return
        if now_ms() - beat_ms < settings.failover.watchdog_after_ms:
            continue
        try:
            for place in await end_primaries(settings):
                log.error("the agent stands still: the primary at %s was ended", place)
        except PostgresError:
            log.exception("primaries not ended, looking again")
            continue
        if orphaned_ms is not None:
            return


@click.command()
@click.option(
    "--settings", "path", type=click.Path(path_type=Path), required=True, help="site.json of the site"
)
@click.option("--agent", "agent_pid", type=int, required=True, help="Process id of the agent.")
def main(path: Path, agent_pid: int) -> None:
    """Watch over the agent of one data site."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = read_site_settings(path)
    except SettingsError as error:
        click.echo(error, err=True)
        sys.exit(2)
    asyncio.run(watch(settings, agent_pid))


if __name__ == "__main__":
    main()
