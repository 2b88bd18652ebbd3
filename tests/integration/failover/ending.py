"""The agent, ending by itself (os._exit) at a named point of a named step, as a crash or a kill would.

`python -m tests.integration.failover.ending --settings site.json`, with the orders in the file that
$BIYI_TEST_ORDERS names. Everything runs as in production; only the effects are watched from outside.
"""

import asyncio
import contextvars
import functools
import inspect
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import replication.agent as production
from replication.failover.act import Actor

EFFECTS = (
    "initialise", "create_roles_and_database", "start", "stop_clean", "kill_hard", "become_standby", "clone",
    "rewind", "follow", "stop_receiver", "promote", "set_sync_names", "write_marker", "checkpoint",
    "write_fenced", "fence", "open_to_clients", "wait_until_idle",
)  # fmt: skip
"""The methods of `CopyServer` that change something; `swap` is the register's."""
DURING_SECONDS = 0.03
ORDERS = "BIYI_TEST_ORDERS"

Hook = Callable[[str, str, str], None]
"""Told step, call and `before`, `during` (not for calls that are not awaited) or `after`."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point at which an agent ends."""

    place: str
    step: str
    call: str
    when: str

    def __str__(self) -> str:
        return f"{self.when}-{self.call}-in-{self.step}"


class WatchedRegister:
    """The register of an actor, with its swaps watched."""

    def __init__(self, register: Any, watched: Callable[..., Any]) -> None:
        self.swap = watched(register.swap, "swap")


def watch_effects(actor: Actor, server: Any, hook: Hook) -> None:
    """Tell `hook` of every effect that the actor's steps have."""
    step_now: contextvars.ContextVar[str] = contextvars.ContextVar("step", default="")

    def in_step(step: str, effect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run(*given: Any) -> Any:
            token = step_now.set(step)
            try:
                return await effect(*given)
            finally:
                step_now.reset(token)

        return run

    def watched(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        if not inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            def plain(*given: Any, **named: Any) -> Any:
                hook(step_now.get(), name, "before")
                done = call(*given, **named)
                hook(step_now.get(), name, "after")
                return done

            return plain

        @functools.wraps(call)
        async def awaited(*given: Any, **named: Any) -> Any:
            hook(step_now.get(), name, "before")
            hook(step_now.get(), name, "during")
            done = await call(*given, **named)
            hook(step_now.get(), name, "after")
            return done

        return awaited

    for step, effect in list(actor.effects.items()):
        actor.effects[step] = in_step(str(step), effect)
    for name in EFFECTS:
        setattr(server, name, watched(getattr(server, name), name))
    actor.register = WatchedRegister(actor.register, watched)


def order(path: Path, point: Point) -> None:
    """Have the agents that read `path` end at the point; the file is gone once one has."""
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(asdict(point)))
    aside.replace(path)


def read_order(path: Path) -> Point | None:
    try:
        return Point(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


class EndingAgent(production.Agent):
    """The production agent under orders."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        for place, loop in self.loops.items():
            watch_effects(loop._round._actor, loop._server, functools.partial(self._at, place))

    def _at(self, place: str, step: str, call: str, when: str) -> None:
        path = Path(os.environ[ORDERS])
        point = read_order(path)
        if point is None or (point.place, point.step, point.call) != (place, step, call):
            return
        if point.when == "during" and when == "during":
            asyncio.get_running_loop().call_later(DURING_SECONDS, self._end, path, point)
        elif point.when == when or (point.when == "during" and when == "after"):
            self._end(path, point)

    def _end(self, path: Path, point: Point) -> None:
        path.unlink(missing_ok=True)
        production.log.error("ends %s at %s, as ordered", point, point.place)
        os._exit(137)


if __name__ == "__main__":
    production.Agent = EndingAgent  # type: ignore[misc]
    production.main()
