"""The agent's side of a forced promotion: the price of it, and carrying it out once that is accepted."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web

from replication.failover.loop import CopyLoop
from replication.failover.price import CopyStanding, Price, compute_price
from replication.failover.states import CopyState, ForceAsked, Seen
from replication.failover.view import SiteView
from replication.journal import encode
from replication.model import CopyId
from replication.settings import SiteSettings

PROMOTE_SECONDS = 30.0
"""How long a request waits for its end. Source: our choice; a promotion takes under a second."""
PEER_SECONDS = 1.0
"""Patience with the other copies' agents, one of which is usually gone. Source: our choice."""
BY_CHARACTERS_MOST = 100


class Forcing:
    """Answers what a forced promotion at this site costs, and has it done."""

    def __init__(
        self,
        settings: SiteSettings,
        view: SiteView,
        loops: Mapping[str, CopyLoop],
        session: aiohttp.ClientSession,
    ) -> None:
        self._settings = settings
        self._view = view
        self._loops = loops
        self._session = session

    async def read_price(self, cell: str) -> tuple[CopyLoop, Price] | str:
        """Return the price of promoting this site's best copy of the cell; a text when there is none."""
        looks = [(loop, loop.seen) for loop in self._loops.values() if loop.place.cell == cell]
        standing = [(loop, seen) for loop, seen in looks if seen is not None and seen.own.copy is not None]
        if not standing:
            return f"there is no copy of a cell {cell!r} at {self._settings.site}"
        loop, seen = max(standing, key=lambda pair: _order(pair[1]))
        others = [_standing_of(other) for _, other in standing if other is not seen]
        agents = {self._settings.agent_of(place) for place in self._view.sight.others(cell)}
        for told in await asyncio.gather(*(self._ask_peer(cell, url) for url in agents if url is not None)):
            others += told
        world = self._view.sight.world
        grant = seen.grant
        known = None
        if world is not None and grant is not None:
            known = world.exposures.get(grant.grant.primary.site, {}).get(cell)
        price = compute_price(seen, known, tuple(others), self._settings.failover)
        if price is None:
            return f"no grant of a cell {cell!r} is known at {self._settings.site}"
        return loop, price

    async def promote(self, cell: str, token: str, by: str) -> Mapping[str, object]:
        """Promote at the loss that `token` stands for; wait for the end, bounded."""
        found = await self.read_price(cell)
        if isinstance(found, str):
            return {"outcome": "refused", "why": found}
        loop, price = found
        answer: dict[str, object] = {"price": encode(price), "by": by}
        if price.objection is not None:
            return answer | {"outcome": "refused", "why": price.objection.value}
        if token != price.token:
            return answer | {
                "outcome": "refused",
                "why": f"the price is another than the one accepted ({token}): look at it again",
            }
        asked = ForceAsked(price.revision, by, token, price.gap_bytes, price.commits, price.moved_fen)
        loop.ask_force(asked)
        try:
            return answer | await self._wait(cell, loop, price)
        finally:
            loop.ask_force(None)

    async def _wait(self, cell: str, loop: CopyLoop, price: Price) -> dict[str, object]:
        look = self._view.looks
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROMOTE_SECONDS):
                while True:
                    look = await self._view.next_look(look)
                    world = self._view.sight.world
                    now = world.grants[cell].grant if world and cell in world.grants else None
                    if now is None or now.epoch == price.epoch or now.candidate is not None:
                        continue
                    if now.primary == price.copy:
                        return {"outcome": "done", "why": "promoted", "epoch": now.epoch}
                    return {"outcome": "refused", "why": f"{now.primary} has the cell meanwhile"}
        why = loop.decision.why.value if loop.decision else "nothing decided"
        return {
            "outcome": "unknown",
            "why": f"not settled after {PROMOTE_SECONDS:g} s ({why}); see `biyi why {cell}`",
        }

    async def _ask_peer(self, cell: str, url: str) -> list[CopyStanding]:
        """Return the copies of the agent at `url`; [] when it does not answer."""
        timeout = aiohttp.ClientTimeout(total=PEER_SECONDS)
        try:
            async with self._session.get(url + "/v1/status", timeout=timeout) as answer:
                places = (await answer.json())["places"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return []
        seen = [facts["seen"] for facts in places.values() if facts["seen"]]
        return [_read_standing(each["own"]) for each in seen if each["cell"] == cell]


def _order(seen: Seen) -> tuple[bool, int, int]:
    return seen.own.state is CopyState.STANDBY, seen.own.timeline, seen.own.received_lsn


def _standing_of(seen: Seen) -> CopyStanding:
    own = seen.own
    return CopyStanding(own.place, own.copy, own.state, own.timeline, own.received_lsn)


def _read_standing(own: Mapping[str, Any]) -> CopyStanding:
    copy = CopyId.parse(own["copy"]) if own["copy"] else None
    return CopyStanding(
        own["place"], copy, CopyState(own["state"]), int(own["timeline"]), int(own.get("received_lsn", 0))
    )


def routes(forcing: Forcing) -> web.RouteTableDef:
    """Return the HTTP face: the price, and the promotion."""
    table = web.RouteTableDef()

    @table.get("/v1/cells/{cell}/promote")
    async def get_price(request: web.Request) -> web.Response:
        found = await forcing.read_price(request.match_info["cell"])
        if isinstance(found, str):
            return web.json_response({"outcome": "refused", "why": found}, status=409)
        return web.json_response({"outcome": "priced", "price": encode(found[1])})

    @table.post("/v1/cells/{cell}/promote")
    async def post_promote(request: web.Request) -> web.Response:
        try:
            body = await request.json()
            token, by = str(body["accept_loss"]), str(body["by"]).strip()
        except (ValueError, KeyError, TypeError):
            token = by = ""
        if not token or not by.isprintable() or not 0 < len(by) <= BY_CHARACTERS_MOST:
            why = f'body needs {{"accept_loss": token, "by": who, at most {BY_CHARACTERS_MOST} characters}}'
            return web.json_response({"outcome": "refused", "why": why}, status=422)
        answer = await forcing.promote(request.match_info["cell"], token, by)
        return web.json_response(
            answer, status={"done": 200, "refused": 409}.get(str(answer["outcome"]), 504)
        )

    return table
