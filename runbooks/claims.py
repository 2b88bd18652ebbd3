"""Who claims to be a cell's primary: every server of it is asked itself, past agents and routers.

A server that is no standby claims to be the primary. It can write only if it also lets the core in, which a
fenced one does not. Two that could write would be a split brain. `judge_claims` is pure.
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import click
import psycopg
from rich.console import Console
from rich.table import Table

from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.model import Grant
from replication.postgres.copy import ADMIN, APP, DATABASE
from replication.settings import PlaceSettings, SiteSettings
from replication.tls import calling
from replication.transport import plan_calling
from runbooks.drills.checkers import Finding, Verdict
from runbooks.stand.home import default_home
from runbooks.stand.topology import StandError, outside_settings, read_stand

CONNECT_SECONDS = 2
"""Patience with a server. Source: our choice; a living one answers in milliseconds."""
_ASK = "select pg_is_in_recovery(), (pg_control_checkpoint()).timeline_id, (select epoch from biyi.epoch)"


@dataclass(frozen=True, slots=True)
class Claim:
    """What one server says of itself. None: it did not say; `note` is why."""

    place: str
    cell: str
    claims: bool | None
    """Whether it is no standby."""
    admits: bool | None
    """Whether it lets the core in."""
    epoch: int | None = None
    timeline: int | None = None
    note: str = ""

    @property
    def writes(self) -> bool | None:
        """Return whether the core could write at it; None when that is not known."""
        if self.claims is False or self.admits is False:
            return False
        return True if self.claims and self.admits else None


async def ask_claims(settings: SiteSettings, cells: Iterable[str]) -> list[Claim]:
    """Ask every server of `cells`, all at once."""
    places = [place for place in settings.places if place.cell in set(cells)]
    return list(await asyncio.gather(*(_ask_place(settings, place) for place in places)))


async def _ask_place(settings: SiteSettings, place: PlaceSettings) -> Claim:
    said: tuple[bool, int, int | None] | None = None
    note = ""
    try:
        async with await _connect(settings, place, ADMIN) as connection:
            said = await (await connection.execute(_ASK)).fetchone()
    except (psycopg.Error, OSError) as error:
        note = " ".join(str(error).split())[:160]
    if said is None:
        return Claim(place.name, place.cell, None, None, note=note)
    try:
        async with await _connect(settings, place, APP):
            admits: bool | None = True
    except psycopg.OperationalError as error:
        # 28000: pg_hba.conf rejects it; anything else says nothing about the next one who knocks.
        admits = False if "pg_hba.conf" in str(error) else None
        note = " ".join(str(error).split())[:160]
    return Claim(place.name, place.cell, not said[0], admits, said[2], said[1], note)


async def _connect(
    settings: SiteSettings, place: PlaceSettings, role: str
) -> psycopg.AsyncConnection[tuple[bool, int, int | None]]:
    return await psycopg.AsyncConnection.connect(
        **plan_calling(place),
        dbname=DATABASE,
        user=role,
        passfile=str(settings.passfile),
        connect_timeout=CONNECT_SECONDS,
        application_name="biyi-claims",
    )


def judge_claims(claims: Sequence[Claim], grants: Mapping[str, Grant]) -> tuple[Finding, ...]:
    """Return, by cell, whether at most the granted server could write; who is silent leaves it UNKNOWN."""
    return tuple(
        _judge_cell(cell, [claim for claim in claims if claim.cell == cell], grants.get(cell))
        for cell in sorted({claim.cell for claim in claims})
    )


def _judge_cell(cell: str, claims: Sequence[Claim], grant: Grant | None) -> Finding:
    granted = grant.primary.place if grant else ""
    wrong = [
        f"{claim.place} could write (epoch {claim.epoch}, timeline {claim.timeline}), granted is "
        f"{granted or 'nobody'}"
        for claim in claims
        if claim.writes and claim.place != granted
    ]
    silent = [
        f"{claim.place} does not say: {claim.note}"
        for claim in claims
        if claim.writes is None and claim.place != granted
    ]
    if wrong:
        return Finding(f"one_writer_{cell}", Verdict.BROKEN, len(wrong), len(claims), tuple(wrong))
    verdict = Verdict.UNKNOWN if silent or grant is None else Verdict.HOLDS
    return Finding(f"one_writer_{cell}", verdict, len(silent), len(claims), tuple(silent))


async def read_grants(settings: SiteSettings) -> dict[str, Grant]:
    """Return each cell's grant; EtcdUnavailable when no member answers."""
    async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
        return {name: seen.grant for name, seen in (await read_world(etcd)).grants.items()}


@click.command("claims")
@click.argument("cells", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def claims_command(cells: tuple[str, ...], as_json: bool) -> None:
    """Ask every server of CELLS (all of them: none named) whether it is a primary; changes nothing.

    For when two places seem to serve one cell: evidence first. The newest epoch in etcd is right; a server
    that claims otherwise is fenced and stopped by its own agent. Runbook: `biyi drill show split-brain`.

    \b
    Exit 0: nobody but the granted server could write.
    Exit 1: another one could; take its site off the network and call whoever is on duty.
    Exit 3: a server does not answer, or etcd does not: not known.
    """
    try:
        settings = outside_settings(read_stand(default_home()))
        names = cells or tuple(cell.name for cell in settings.cells)
        grants = asyncio.run(read_grants(settings))
        claims = asyncio.run(ask_claims(settings, names))
    except StandError as error:
        raise click.ClickException(str(error)) from error
    except EtcdUnavailable as error:
        click.echo(f"etcd does not answer: {error}", err=True)
        sys.exit(3)
    findings = judge_claims(claims, grants)
    if as_json:
        plain = {"claims": [asdict(claim) for claim in claims]}
        click.echo(json.dumps(plain | {"findings": [asdict(finding) for finding in findings]}))
    else:
        _print(claims, grants, findings)
    verdicts = {finding.verdict for finding in findings}
    sys.exit(1 if Verdict.BROKEN in verdicts else 3 if Verdict.UNKNOWN in verdicts or not findings else 0)


def _print(claims: Sequence[Claim], grants: Mapping[str, Grant], findings: Sequence[Finding]) -> None:
    table = Table("server", "granted", "claims to be primary", "lets the core in", "epoch", "timeline")
    for claim in sorted(claims, key=lambda one: one.place):
        grant = grants.get(claim.cell)
        granted = f"epoch {grant.epoch}" if grant and grant.primary.place == claim.place else ""
        told = ({True: "yes", False: "no", None: "?"}[said] for said in (claim.claims, claim.admits))
        table.add_row(claim.place, granted, *told, str(claim.epoch or "-"), str(claim.timeline or "-"))
    Console().print(table)
    for finding in findings:
        click.echo(f"{finding.name}: {finding.verdict}")
        for example in finding.examples:
            click.echo(f"  {example}")
