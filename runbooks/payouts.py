"""`biyi payouts`: where payouts stand, which wait and why, and which channels the payers use."""

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import click
from rich.console import Console
from rich.table import Table

from core_app.core import Connection
from core_app.funding.settings import FILE, read_payer_settings
from replication.model import DATA_SITES
from replication.tls import calling
from runbooks.funder import run
from runbooks.lending_core import open_core
from runbooks.stand.certificates import tls_dir
from runbooks.stand.home import default_home

ANSWER_SECONDS = 2.0
"""Patience with a payer's status. Source: our choice; on loopback it takes milliseconds."""
_SHOWN = 20

_COUNTS = "select state, count(*) from core.payout_orders group by state"
_OPEN = """
select order_id, state, coalesce(channel, ''), amount_fen,
       extract(epoch from now() - at)::float, note
from core.payout_orders where state in ('ordered', 'sent', 'unknown') order by at limit %s
"""


@dataclass(frozen=True, slots=True)
class Open:
    """An order that is not final; `age_s` since it was drawn."""

    order_id: str
    state: str
    channel: str
    amount_fen: int
    age_s: float
    note: str


@click.command("payouts")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def payouts_command(as_json: bool) -> None:
    """Show how many payouts are in which state, those that wait, and the channels as each payer sees them.

    An order in state unknown waits for its channel's word: nobody else is asked to pay it meanwhile.
    """
    counts, waiting, channels = run(_read())
    if as_json:
        plain = {"counts": counts, "waiting": [asdict(one) for one in waiting], "channels": channels}
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    for site, seen in channels.items():
        text = ", ".join(f"{name} {state}" for name, state in seen.items()) if seen else "does not answer"
        click.echo(f"payer of {site}: {text}")
    click.echo(
        "orders: " + (", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "none")
    )
    if waiting:
        table = Table("order", "state", "channel", "yuan", "age", "note")
        for one in waiting:
            yuan, age = f"{one.amount_fen / 100:,.2f}", f"{one.age_s:.1f} s"
            table.add_row(one.order_id, one.state, one.channel, yuan, age, one.note)
        Console().print(table)


async def _read() -> tuple[dict[str, int], list[Open], dict[str, dict[str, str]]]:
    async def work(connection: Connection, _: int) -> tuple[dict[str, int], list[Open]]:
        counts = await connection.execute(_COUNTS)
        orders = await connection.execute(_OPEN, [_SHOWN])
        return dict(await counts.fetchall()), [Open(*row) for row in await orders.fetchall()]

    counts: dict[str, int] = {}
    waiting: list[Open] = []
    async with open_core() as core:
        for cell in core.router.cells:
            read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
            for state, count in read.value[0].items():
                counts[state] = counts.get(state, 0) + count
            waiting += read.value[1]
    channels = await asyncio.gather(*(_ask_payer(str(site)) for site in DATA_SITES))
    oldest = sorted(waiting, key=lambda one: -one.age_s)[:_SHOWN]
    return counts, oldest, dict(zip(map(str, DATA_SITES), channels, strict=True))


async def _ask_payer(site: str) -> dict[str, str]:
    port = read_payer_settings(default_home() / site / FILE).status_port
    tls = calling(tls_dir(default_home(), site), "payer")
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"https://127.0.0.1:{port}/v1/status", ssl=tls) as answer,
        ):
            plain: dict[str, Any] = await answer.json()
            return dict(plain["channels"])
    except (aiohttp.ClientError, TimeoutError, OSError):
        return {}
