"""How far sync copies are behind, asked of the agents that have the primaries."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from replication.model import CopyId, GrantSeen
from replication.platform.settings import PlatformSettings

ASK_SECONDS = 1.0
"""Patience with an agent. Source: our choice; it answers from memory, and a figure may be missing."""


async def read_lags(
    session: aiohttp.ClientSession, platform: PlatformSettings, grants: Mapping[str, GrantSeen]
) -> dict[str, int]:
    """Return the WAL (bytes) that each follower has not flushed, by place; what nobody tells is missing."""
    urls = {platform.agents[seen.grant.primary.place] for seen in grants.values()}
    answers = await asyncio.gather(*(_status(session, url) for url in urls))
    return {place: lag for answer in answers for place, lag in lags_of(answer).items()}


async def _status(session: aiohttp.ClientSession, url: str) -> Mapping[str, Any]:
    try:
        async with session.get(
            url + "/v1/status", timeout=aiohttp.ClientTimeout(total=ASK_SECONDS)
        ) as answer:
            return dict(await answer.json()) if answer.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return {}


def lags_of(status: Mapping[str, Any]) -> dict[str, int]:
    """Return the lags (bytes) that an agent's status tells of, by place."""
    found = {}
    for place in status.get("places", {}).values():
        own = (place.get("seen") or {}).get("own") or {}
        for follower in own.get("followers", ()):
            behind = own["wal_flush_lsn"] - follower["flush_lsn"]
            found[CopyId.parse(follower["copy"]).place] = max(0, behind)
    return found
