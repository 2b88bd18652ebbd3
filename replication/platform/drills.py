"""Carries out what a `Drill` asks for: a planned move of a cell, asked of the agent that has its primary.

A drill is claimed by writing its status on the resourceVersion that was read, so that of several stewards one
carries it out. A steward that dies in between leaves `Running`: nobody repeats it, and later it is `Unknown`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from replication.agent import MOVE_SECONDS
from replication.model import CopyId, GrantSeen
from replication.platform.cluster import DRILLS, Cluster, ClusterUnavailable, Conflict
from replication.platform.settings import PlatformSettings
from replication.platform.writes import Verb, Write

log = logging.getLogger("biyi.steward")

ASK_SECONDS = MOVE_SECONDS + 5
"""Patience with the agent, which itself waits `MOVE_SECONDS` for the end of a move."""
FORGOTTEN = timedelta(seconds=4 * ASK_SECONDS)
"""A drill that runs for this long has lost its steward. Source: our choice, four times what one may take."""
_PHASES = {"done": "Done", "refused": "Refused"}


def is_new(drill: Mapping[str, Any]) -> bool:
    """Say whether nobody has begun it."""
    return "phase" not in drill.get("status", {})


def is_forgotten(drill: Mapping[str, Any], at: datetime) -> bool:
    """Say whether whoever began it has not come back."""
    status = drill.get("status", {})
    began = status.get("startedAt")
    return status.get("phase") == "Running" and at - datetime.fromisoformat(began) > FORGOTTEN


def with_status(drill: Mapping[str, Any], **status: object) -> Write:
    """Plan a drill's status, on the version it was read at; what its status said before stays."""
    head = {key: drill["metadata"][key] for key in ("name", "resourceVersion")}
    said = {**drill.get("status", {}), **status}
    return Write(Verb.STATUS, {"metadata": head, "spec": drill["spec"], "status": said})


class DrillRunner:
    """Runs the drills of one namespace."""

    def __init__(self, cluster: Cluster, platform: PlatformSettings, session: aiohttp.ClientSession) -> None:
        self._cluster = cluster
        self._platform = platform
        self._session = session

    async def claim(self, drill: Mapping[str, Any], at: datetime, epoch: int | None) -> dict[str, Any] | None:
        """Take a drill on; Conflict when another steward has. Return it as it then stands."""
        known = {} if epoch is None else {"epochBefore": epoch}
        name = drill["metadata"]["name"]
        claim = with_status(drill, phase="Running", startedAt=at.isoformat(), **known)
        await self._cluster.write(DRILLS, name, claim)
        return await self._cluster.read(DRILLS, name)

    async def carry_out(self, drill: Mapping[str, Any], seen: GrantSeen | None) -> None:
        """Do what it asks for and write down how it ended."""
        name, spec = drill["metadata"]["name"], drill["spec"]
        begun = time.monotonic()
        if seen is None:
            answer: Mapping[str, Any] = {"outcome": "refused", "why": f"no grant of a cell {spec['cell']!r}"}
        else:
            answer = await self._ask(seen.grant.primary, spec)
        phase = _PHASES.get(str(answer.get("outcome")), "Unknown")
        status: dict[str, object] = {
            "phase": phase,
            "message": str(answer.get("why", "")),
            "seconds": round(time.monotonic() - begun, 3),
        }
        if isinstance(answer.get("epoch"), int):
            status["epochAfter"] = answer["epoch"]
        log.info("drill %s: %s: %s", name, phase, answer.get("why"))
        await self._write_down(drill, status)

    async def _write_down(self, drill: Mapping[str, Any], status: Mapping[str, object]) -> None:
        """Write how it ended, however long the API server is away, until others call it forgotten."""
        name, at = drill["metadata"]["name"], drill["status"]["startedAt"]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FORGOTTEN.total_seconds()):
                while True:
                    try:
                        now = await self._cluster.read(DRILLS, name)
                        if now is None or now.get("status", {}).get("startedAt") != at:
                            return
                        await self._cluster.write(DRILLS, name, with_status(now, **status))
                        return
                    except (Conflict, ClusterUnavailable) as error:
                        log.warning("drill %s: its end is not written yet: %s", name, error)
                        await asyncio.sleep(1)

    async def _ask(self, primary: CopyId, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        url = f"{self._platform.agents[primary.place]}/v1/cells/{spec['cell']}/move"
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
        try:
            async with self._session.post(url, json={"to": spec["to"]}, timeout=timeout) as answer:
                found: dict[str, Any] = await answer.json()
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return {
                "outcome": "unknown",
                "why": f"the agent of {primary.place}: {type(error).__name__}: {error}",
            }
