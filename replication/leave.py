"""Asks the agent on this machine to move every primary it has to the other site: `preStop` of a copy's pod.

`python -m replication.leave --settings site.json`. Ends with 0 when nothing is left, 1 when something stays;
either way the pod may end: the agent then stops its copies cleanly, and the other site takes over.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
import click

from replication.agent import MOVE_SECONDS
from replication.model import CopyId, other_data_site
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import calling

ASK_SECONDS = 2.0
"""Patience with the agent's status. Source: our choice; it answers from memory."""


@click.command()
@click.option(
    "--settings", "path", type=click.Path(path_type=Path), required=True, help="site.json of the site"
)
def main(path: Path) -> None:
    """Move every primary of this machine's copies to the other site, cell by cell."""
    try:
        settings = read_site_settings(path)
    except SettingsError as error:
        click.echo(error, err=True)
        sys.exit(2)
    sys.exit(asyncio.run(leave(settings)))


async def leave(settings: SiteSettings) -> int:
    """Return 0 when no own copy is primary any more, 1 when one stayed or the agent did not answer."""
    scheme = "https" if settings.tls_dir else "http"
    url, stayed = f"{scheme}://127.0.0.1:{settings.agent_port}", 0
    target = str(other_data_site(settings.site))
    try:
        connector = aiohttp.TCPConnector(ssl=calling(settings.tls_dir, "agent"))
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            for cell in await _own_primaries(session, url, settings):
                answer = await _move(session, url, cell, target)
                click.echo(f"cell {cell} to {target}: {answer.get('outcome')}: {answer.get('why')}")
                stayed += answer.get("outcome") != "done"
    except (aiohttp.ClientError, TimeoutError) as error:
        click.echo(f"the agent does not answer: {type(error).__name__}", err=True)
        return 1
    return int(stayed > 0)


async def _own_primaries(session: aiohttp.ClientSession, url: str, settings: SiteSettings) -> list[str]:
    own = {place.name for place in settings.agent_places()}
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    async with session.get(f"{url}/v1/status", timeout=timeout) as answer:
        grants: dict[str, Any] = (await answer.json())["grants"]
    return sorted(cell for cell, grant in grants.items() if CopyId.parse(grant["primary"]).place in own)


async def _move(session: aiohttp.ClientSession, url: str, cell: str, to: str) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=MOVE_SECONDS + ASK_SECONDS)
    async with session.post(f"{url}/v1/cells/{cell}/move", json={"to": to}, timeout=timeout) as answer:
        found: dict[str, Any] = await answer.json()
        return found


if __name__ == "__main__":
    main()
