"""What a drill asks of the agents: hold fail-back, release it, move a cell."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from replication.model import Site
from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.drills.scene import DrillRefused

PATIENCE_S = 30.0
"""Patience with an answer. Source: our choice, above the agent's own 20 s for a move."""


@dataclass(frozen=True, slots=True)
class Agents:
    """The agents of both sites, asked as an operator asks them."""

    http: aiohttp.ClientSession
    settings: SiteSettings

    async def hold(self, at: Site) -> None:
        """Cells stay where they are put until `release`."""
        await self._ask("PUT", at, "/v1/hold")

    async def release(self, at: Site) -> None:
        """Cells may go home again."""
        await self._ask("DELETE", at, "/v1/hold")

    async def move(self, at: Site, cell: str, to: Site) -> str:
        """Ask the agent of the primary's site to move a cell; return what it says, also when it refuses."""
        answer = await self._ask("POST", at, f"/v1/cells/{cell}/move", {"to": str(to)})
        return str(answer.get("why"))

    async def _ask(self, method: str, at: Site, path: str, body: object = None) -> Mapping[str, Any]:
        try:
            async with self.http.request(method, self.settings.agent_urls[at] + path, json=body) as answer:
                plain = await answer.json(content_type=None)
                if not isinstance(plain, dict) or (method != "POST" and answer.status >= 400):
                    raise DrillRefused(f"the agent of {at} answers {answer.status} to {method} {path}")
                return plain
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DrillRefused(
                f"the agent of {at} does not answer {method} {path} ({type(error).__name__})"
            ) from error


@asynccontextmanager
async def open_agents(settings: SiteSettings) -> AsyncIterator[Agents]:
    """Yield the agents as `settings` addresses them; DrillRefused when one does not answer."""
    connector = aiohttp.TCPConnector(ssl=calling(settings.tls_dir, "agent"))
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as http:
        yield Agents(http, settings)
