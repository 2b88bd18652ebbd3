"""Where etcd's leader is, and moving it to the witness: there the loss of a data site costs no election."""

import asyncio
import time
from typing import Any

import aiohttp

from replication.model import Site
from runbooks.stand.topology import Stand

_PAUSE_S = 0.2


async def leader_site(http: aiohttp.ClientSession, stand: Stand) -> Site | None:
    """Return the site whose member leads, as the members that answer see it; None when none does."""
    statuses = await _statuses(http, stand)
    leaders = {status.get("leader", "0") for status in statuses.values()}
    return next((site for site, own in statuses.items() if own["header"]["member_id"] in leaders), None)


async def lead_at_witness(http: aiohttp.ClientSession, stand: Stand, patience_s: float = 1.0) -> bool:
    """Move etcd's leadership to the witness; best effort. Returns whether it is there now."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        leader = await leader_site(http, stand)
        if leader is Site.WITNESS:
            return True
        statuses = await _statuses(http, stand)
        if leader is not None and Site.WITNESS in statuses:
            target = {"targetID": statuses[Site.WITNESS]["header"]["member_id"]}
            await _ask(http, stand, leader, "transfer-leadership", target)
        await asyncio.sleep(_PAUSE_S)
    return await leader_site(http, stand) is Site.WITNESS


async def _statuses(http: aiohttp.ClientSession, stand: Stand) -> dict[Site, dict[str, Any]]:
    answers = await asyncio.gather(*(_ask(http, stand, site, "status", {}) for site in Site))
    return {site: answer for site, answer in zip(Site, answers, strict=True) if answer is not None}


async def _ask(
    http: aiohttp.ClientSession, stand: Stand, site: Site, what: str, body: dict[str, str]
) -> dict[str, Any] | None:
    """Ask the member of `site` through its maintenance gateway; None when it does not answer well."""
    url = f"{stand.etcd_url(site)}/v3/maintenance/{what}"
    try:
        async with http.post(url, json=body, ssl=stand.calling("etcd")) as response:
            return await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
