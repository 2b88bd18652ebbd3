"""Run one batch: each fault begins at its time, lasts, heals; then everything is healed."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import HOLD, read_world
from replication.model import Grant, Site
from runbooks.cells import ANSWER_SECONDS, MOVE_SECONDS
from runbooks.drills.watch import GrantWatch
from runbooks.faults.catalogue import INJECTORS, Ask, Effect
from runbooks.faults.ground import Ground, Missed, resolve_spot
from runbooks.faults.model import Batch, BatchDone, FaultDone, FaultPlan, Spot
from runbooks.stand.topology import LOOPBACK, StandError

_RELEASE_S = 20.0
"""Patience with taking the hold back after a batch. Source: our choice; etcd elects in seconds."""


@dataclass(slots=True)
class Injection:
    """Carries out planned faults on a stand; tells each one that ended to `record`."""

    ground: Ground
    watch: GrantWatch
    etcd: Etcd
    http: aiohttp.ClientSession
    record: Callable[[FaultDone | BatchDone], None]
    active: dict[int, FaultPlan] = field(default_factory=dict)
    """For whoever watches."""

    async def run(self, batch: Batch) -> None:
        """Run all faults of a batch at their times; returns when the last one has healed."""
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for plan in batch.faults:
                tasks.create_task(self._run_one(plan, batch.number, begun_s))

    async def heal_all(self) -> tuple[str, ...]:
        """Heal whatever is broken; returns what had ended although no fault had ended it."""
        surprises = await self.ground.heal_all()
        await self._release_hold(_RELEASE_S)
        return surprises

    async def _run_one(self, plan: FaultPlan, batch: int, begun_s: float) -> None:
        await asyncio.sleep(max(0.0, begun_s + plan.at_s - time.monotonic()))
        spot, note, happened = Spot(), "", True
        began_ns = time.monotonic_ns()
        self.active[plan.number] = plan
        try:
            spot = resolve_spot(plan.target, self.watch.grants)
            effect = INJECTORS[plan.name].effect(plan, spot)
            note = await self._begin(plan, effect, spot)
            await self._last(plan, effect)
        except (Missed, StandError) as error:
            happened, note = False, str(error)
        finally:
            # Healed even when the run is being cancelled; what cannot be healed now is when all is.
            with contextlib.suppress(StandError):
                await asyncio.shield(self.ground.end(plan.number))
            self.active.pop(plan.number, None)
        if happened and plan.name == "hold":
            await self._release_hold(0.0)
        self.record(
            FaultDone(
                plan.number,
                batch,
                plan.name,
                plan.target,
                began_ns,
                time.monotonic_ns(),
                happened,
                spot,
                note,
            )
        )

    async def _begin(self, plan: FaultPlan, effect: Effect, spot: Spot) -> str:
        if effect.ask is Ask.MOVE:
            return await self._ask_move(spot)
        if effect.ask is Ask.HOLD:
            return await self._hold()
        if effect.lose_copy:
            return await self._lose_copy(spot)
        return await self.ground.begin(plan.number, effect, spot, plan.pick)

    async def _last(self, plan: FaultPlan, effect: Effect) -> None:
        end_s = time.monotonic() + plan.duration_s
        while effect.rhythm and time.monotonic() < end_s:
            for seconds, table in effect.rhythm:
                await self.ground.turn_links(plan.number, table)
                await asyncio.sleep(max(0.0, min(seconds, end_s - time.monotonic())))
        await asyncio.sleep(max(0.0, end_s - time.monotonic()))

    async def _ask_move(self, spot: Spot) -> str:
        """Ask the primary's agent to move its cell away; whatever comes of it is allowed."""
        to = "cloud" if spot.site == "idc" else "idc"
        port = self.ground.stand.port(Site(spot.site), "agent")
        url = f"https://{LOOPBACK}:{port}/v1/cells/{spot.cell}/move"
        tls = self.ground.stand.calling("agent")
        timeout = aiohttp.ClientTimeout(total=MOVE_SECONDS, sock_connect=ANSWER_SECONDS)
        try:
            async with self.http.post(url, json={"to": to}, timeout=timeout, ssl=tls) as answer:
                said = await answer.json()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Missed(f"the agent of {spot.site} cannot be asked: {error}") from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"{spot.cell} to {to}: no answer ({type(error).__name__})"
        if said.get("outcome") == "refused":
            raise Missed(f"refused: {said.get('why')}")
        return f"{spot.cell} to {to}: {said.get('outcome')}"

    async def _hold(self) -> str:
        try:
            await self.etcd.put(HOLD, json.dumps("fault matrix"))
        except EtcdUnavailable as error:
            raise Missed(f"etcd does not take the hold: {error}") from error
        return "held"

    async def _release_hold(self, within_s: float) -> None:
        end = time.monotonic() + within_s
        while True:
            try:
                await self.etcd.delete(HOLD)
                return
            except EtcdUnavailable:
                if time.monotonic() >= end:
                    return
            await asyncio.sleep(0.1)

    async def _lose_copy(self, spot: Spot) -> str:
        """The grant is read before the server is killed and again when it is dead."""
        killed = await self.ground.lose_copy(await self._read_grant(spot.cell), spot.place)
        grant = await self._read_grant(spot.cell)
        return f"{killed}, {await asyncio.to_thread(self.ground.take_away, grant, spot.place)}"

    async def _read_grant(self, cell: str) -> Grant:
        try:
            return (await read_world(self.etcd)).grants[cell].grant
        except (EtcdUnavailable, KeyError) as error:
            raise Missed(f"the grant of cell {cell} cannot be read") from error


async def start_over(injection: Injection, within_s: float) -> tuple[str, ...]:
    """Heal everything, asking again while the stand refuses; StandError when it does so for too long."""
    end = time.monotonic() + within_s
    while True:
        try:
            with contextlib.suppress(TimeoutError):
                return await injection.heal_all()
        except StandError:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.2)
