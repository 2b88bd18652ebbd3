"""`biyi risk attack`: recorded attacks, sent again to the stand's API; each must be stopped by its rule."""

import asyncio
import datetime as dt
import json
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import click
from rich.console import Console
from rich.table import Column, Table

from compliance.access.bearer import Claims, make_bearer
from compliance.access.roles import Party
from compliance.protection.errors import ProtectionError
from core_app.business_calendar import SHANGHAI, business_date_at
from core_app.core import LendingCore
from core_app.decisions.gang_search import search_gangs
from core_app.decisions.steps import is_night
from core_app.errors import DocumentInvalid
from core_app.products.catalogue import Catalogue, read_catalogue
from core_app.router import CellUnavailable
from replication.settings import SettingsError
from replication.tls import Tls, public_tls
from runbooks.attacks.recorded import Attack
from runbooks.attacks.replay import Replayed, read_attacks, replay
from runbooks.cells import site_settings
from runbooks.lending_core import open_core

_LIFE = dt.timedelta(minutes=5)
"""Of a token made for a replay. Source: our choice; a replay takes seconds."""
_PRODUCT = "instalment-12"
ANSWER_S = 15.0
"""Patience with one answer. Source: our choice, above the API's own 10 s."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """The API at one entrance, and the core beside it for what is no request."""

    session: aiohttp.ClientSession
    url: str
    tls: Tls
    core: LendingCore

    async def send(self, method: str, path: str, token: str, key: str | None, body: Any) -> tuple[int, Any]:
        """Send one request; returns the status and what was answered."""
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        async with self.session.request(
            method, self.url + path, json=body, headers=headers, ssl=self.tls
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    def sign(self, who: str, customer_id: str) -> str:
        """Return a token of a `channel`, a `customer`, or a customer's that has `expired`."""
        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - a shell
        until = int((now - _LIFE if who == "expired" else now + _LIFE).timestamp())
        claims = Claims(Party.CHANNEL, "app", until)
        if who != "channel":
            claims = Claims(Party.CUSTOMER, customer_id, until)
        return make_bearer(self.core.vault.request_digest, claims)

    async def search_gangs(self) -> None:
        """Find who hangs together over all cells."""
        await search_gangs(self.core, str(uuid.uuid4()))


def find_attacks(names: Sequence[str]) -> tuple[Attack, ...]:
    """Return the recorded attacks of these ids, all without any; click.UsageError for an unknown one."""
    attacks = {one.id: one for one in read_attacks()}
    if unknown := [name for name in names if name not in attacks]:
        raise click.UsageError(f"{', '.join(unknown)}: no such attack; there are {', '.join(attacks)}")
    return tuple(attacks[name] for name in names or attacks)


def is_night_now(catalogue: Catalogue, now: dt.datetime) -> bool:
    """Say whether the night hours of the shipped product hold at `now`."""
    product = catalogue.find_on_sale(_PRODUCT, business_date_at(now))
    return product is not None and is_night(product, now.astimezone(SHANGHAI).hour)


@click.command("attack")
@click.argument("names", nargs=-1)
@click.option(
    "--list", "only_list", is_flag=True, help="Show the recorded attacks and what stops them; send nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def attack_command(names: tuple[str, ...], only_list: bool, as_json: bool) -> None:
    """Replay recorded fraud against the stand's API: each request has to be stopped by the rule that must.

    \b
    What there is:   biyi risk attack --list
    All of them:     biyi risk attack
    One:             biyi risk attack device-velocity --json

    Attacks are data (runbooks/attacks/*.yaml): requests in order, and for each what stops it, or that it gets
    through. People and devices are made up anew each time, so that a replay may be repeated; they stay in the
    stand's books: run it on a stand, never beside real customers. Night rules count by the hour in Shanghai.
    Exit 1 when a request ended otherwise than it must, 3 when the API or a cell does not answer.
    """
    attacks = find_attacks(names)
    if only_list:
        _list(attacks, as_json=as_json)
        return
    try:
        done = asyncio.run(_replay(attacks))
    except (CellUnavailable, aiohttp.ClientError, TimeoutError, OSError) as error:
        click.echo(
            f"the stand does not answer ({type(error).__name__}): is it up? `biyi stand status`", err=True
        )
        sys.exit(3)
    except (DocumentInvalid, ProtectionError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([one.as_plain() for one in done]))
    else:
        _show(done)
    sys.exit(0 if all(one.holds for one in done) else 1)


async def _replay(attacks: Sequence[Attack]) -> list[Replayed]:
    settings = next(iter(site_settings().values()))
    night = is_night_now(read_catalogue(), dt.datetime.now(dt.UTC))  # noqa: TID251 - a shell
    url = f"https://127.0.0.1:{settings.api_port}"
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with open_core() as core, aiohttp.ClientSession(timeout=timeout) as session:
        target = Entrance(session, url, public_tls(settings.tls_dir), core)
        done = []
        with Console(stderr=True).status("replaying") as status:
            for one in attacks:
                status.update(f"replaying {one.id}: {len(one.requests)} requests")
                done.append(await replay(one, target, night=night))
        return done


def _list(attacks: Sequence[Attack], *, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps([one.model_dump(mode="json", by_alias=True) for one in attacks], ensure_ascii=False)
        )
        return
    table = Table(Column("攻击 attack", overflow="fold"), "", "请求 requests", "阻断规则 stopped by")
    for one in attacks:
        stops = sorted({r.stopped_by for r in one.requests if r.stopped_by})
        table.add_row(one.id, f"{one.name.zh} {one.name.en}", str(len(one.requests)), ", ".join(stops))
    Console().print(table)


def _show(done: Sequence[Replayed]) -> None:
    table = Table(Column("攻击 attack", overflow="fold"), "", "发送 sent", "阻断 stopped", "结论 verdict")
    for one in done:
        stopped = sum(bool(came.stopped_by) for came in one.came)
        verdict = "[green]达到预期 as it must[/]" if one.holds else "[red]未达预期 otherwise[/]"
        name = one.attack.name
        table.add_row(one.attack.id, f"{name.zh} {name.en}", str(len(one.came)), str(stopped), verdict)
    Console().print(table)
    for one in done:
        for came in one.came:
            if not came.holds:
                click.echo(
                    f"{one.attack.id}, request {came.place}: needs {came.wanted or 'to get through'}, "
                    f"got {', '.join(came.stopped_by) or 'through'} (HTTP {came.status})"
                )
