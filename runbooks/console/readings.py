"""What commands of `biyi` say of keys, backups, filings and figures, read beside the pages that show it.

A reading takes seconds, so no page waits for one: it shows the newest, says of when it is, and a process of
its own reads anew while somebody looks. One reading at a time.
"""

import asyncio
import contextlib
import datetime as dt
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbooks.console.environment import make_environment

PATIENCE_SECONDS = 90.0
"""Patience with a reading. Source: our choice; a busy machine takes 10 s to load and ask."""
MOST_WAITING = 20
"""Readings that wait for their turn. Source: our choice, some minutes; who searches faster is told."""
_MOST_KEPT = 200
"""Readings kept, those asked for with words of a user included. Source: our choice."""
log = logging.getLogger("biyi.console")
Commands = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What one command answered: its exit code, its JSON (None: it said none), else what it complained of."""

    exit: int
    plain: Any
    error: str

    @property
    def seen(self) -> bool:
        """Say whether there is something to show, whatever its verdict."""
        return self.plain is not None


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest answers, in the order of the commands; `answers` None while there was none yet.

    `failed` is why the last try read nothing: `answers` are older than that.
    """

    answers: tuple[Said, ...] | None = None
    read_at: dt.datetime | None = None
    failed: str = ""
    busy: bool = False

    def age_seconds(self, now: dt.datetime) -> float:
        """Return how old the answers are; infinite while there are none."""
        return float("inf") if self.read_at is None else (now - self.read_at).total_seconds()


Run = Callable[[Commands], Awaitable[Sequence[Mapping[str, Any]]]]
"""Run commands and return for each `exit`, `out`, `err`; ReadingFailed when nothing came of it."""


class ReadingFailed(Exception):
    """No answer: the message says what happened, for the page."""


class Readings:
    """The newest readings. `read_now` returns aware UTC."""

    def __init__(self, run: Run, read_now: Callable[[], dt.datetime]) -> None:
        self._run = run
        self._read_now = read_now
        self._known: dict[Commands, Reading] = {}
        self._tasks: dict[Commands, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(1)

    def look(self, commands: Commands, fresh_seconds: float) -> Reading:
        """Return the newest answers now; begins to read anew when they are older than `fresh_seconds`."""
        found = self._known.get(commands, Reading())
        busy = commands in self._tasks
        if not busy and found.age_seconds(self._read_now()) > fresh_seconds and not self._just_failed(found):
            if len(self._tasks) >= MOST_WAITING:
                return Reading(found.answers, found.read_at, "too many readings wait; try again shortly")
            task = asyncio.create_task(self._read(commands))
            self._tasks[commands] = task
            task.add_done_callback(lambda _: self._tasks.pop(commands, None))
            busy = True
        return Reading(found.answers, found.read_at, found.failed, busy)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """End what is being read when the block does."""
        try:
            yield
        finally:
            for task in list(self._tasks.values()):
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _just_failed(self, found: Reading) -> bool:
        return bool(found.failed) and (self._read_now() - self._failed_at).total_seconds() < 5.0

    _failed_at = dt.datetime.min.replace(tzinfo=dt.UTC)

    async def _read(self, commands: Commands) -> None:
        before = self._known.get(commands, Reading())
        async with self._turn:
            begun_at = self._read_now()  # what is read is at least as old as the question
            try:
                answers = tuple(parse_said(one) for one in await self._run(commands))
                made = Reading(answers, begun_at)
            except ReadingFailed as error:
                self._failed_at = self._read_now()
                made = Reading(before.answers, before.read_at, str(error))
        self._known.pop(commands, None)
        self._known[commands] = made
        while len(self._known) > _MOST_KEPT:
            del self._known[next(iter(self._known))]


def parse_said(one: Mapping[str, Any]) -> Said:
    """Return an answer; one that is no JSON has none, and its complaint is kept.

    >>> parse_said({"exit": 0, "out": "[1]", "err": ""})
    Said(exit=0, plain=[1], error='')
    """
    try:
        plain = json.loads(one["out"])
    except ValueError:
        plain = None
    lines = [line for line in str(one["err"]).splitlines() if line.strip()]
    return Said(int(one["exit"]), plain, lines[-1][:300] if lines and plain is None else "")


def running_commands(home: Path, site: str) -> Run:
    """Return what runs commands of `biyi` for the stand in `home` in one process, as seen from `site`."""

    async def run(commands: Commands) -> Sequence[Mapping[str, Any]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runbooks.console.read",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=make_environment(home, site), cwd="/",
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                out, err = await process.communicate(json.dumps(commands).encode())
        except TimeoutError as error:
            raise ReadingFailed(f"no answer within {PATIENCE_SECONDS:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            log.warning("reading %s ended with %s: %s", commands, process.returncode, err.decode()[-2000:])
            raise ReadingFailed(f"the reader ended with {process.returncode}")
        found: list[Mapping[str, Any]] = json.loads(out)
        return found

    return run
