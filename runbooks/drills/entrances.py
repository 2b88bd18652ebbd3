"""The customers' balancer of a drill: replicas of the API join and leave it while customers come."""

import asyncio
import time

import aiohttp

from replication.model import Site
from replication.tls import public_tls
from runbooks.drills.scene import DrillRefused, Scene
from runbooks.stand.replicas import RELEASED, Replica, start_replica, stop_replica
from runbooks.stand.topology import StandError

READY_S = 30.0
"""Patience with an API that starts. Source: our choice; it needs some 3 s on idle cores."""
LEAVE_S = 0.5
"""Pause between leaving the balancer and ending. Source: our choice; who was sent here before, arrives."""


async def join(scene: Scene, site: Site, name: str, program: str = RELEASED) -> Replica:
    """Start a replica, wait until it is ready, let customers come by it; DrillRefused when it never is."""
    try:
        replica = await asyncio.to_thread(start_replica, scene.options.home, site, name, program)
        await wait_until_ready(scene, replica.url, replica)
    except StandError as error:
        raise DrillRefused(str(error)) from error
    scene.load.open_entrance(name, replica.url)
    scene.mark("joined", f"{name} of {site} is ready and serves customers")
    return replica


async def leave(scene: Scene, replica: Replica) -> None:
    """Let nobody come by a replica any more, then end it; it finishes what it has begun."""
    scene.load.close_entrance(replica.name)
    await asyncio.sleep(LEAVE_S)
    await asyncio.to_thread(stop_replica, replica)
    scene.mark("left", f"{replica.name} of {replica.site} has finished and is gone")


async def wait_until_ready(scene: Scene, url: str, replica: Replica | None = None) -> None:
    """Return once an API can read every cell; StandError when it ended, DrillRefused when time is up."""
    end_s = time.monotonic() + READY_S
    tls = public_tls(scene.settings.tls_dir)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3), trust_env=False) as http:
        while True:
            try:
                async with http.get(url + "/readyz", ssl=tls) as answer:
                    if answer.status == 200:
                        return
                    found = f"answers {answer.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                found = f"does not answer ({type(error).__name__})"
            if replica is not None:
                replica.check_alive()
            if time.monotonic() > end_s:
                raise DrillRefused(f"the API at {url} {found} after {READY_S:.0f} s; see `biyi stand logs`")
            await asyncio.sleep(0.1)
