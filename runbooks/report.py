"""Commands `biyi report`: exit 0 done, 1 refused or a check failed, 2 usage, 3 could not tell."""

import asyncio
import datetime as dt
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from compliance.reporting import submission
from compliance.reporting.batch import Finding, Kind, Made, default_since
from compliance.reporting.catalogue import read_tables
from compliance.reporting.errors import FilingRefused
from compliance.reporting.flows import Flows, trace_flows
from compliance.reporting.house import House
from compliance.reporting.run import make_filing
from compliance.reporting.settings import Institution
from compliance.reporting.snapshot import Connection, Evening
from compliance.reporting.statements import Statement, Statements
from core_app.core import LendingCore
from core_app.directory import Directory
from core_app.errors import DocumentInvalid
from core_app.loans.classification import read_class_limits
from core_app.moving.record import read_record
from core_app.staff.portal import Portal
from core_app.yaml_documents import parse_yaml, read_text
from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.postgres.copy import DATABASE, REPORT
from replication.settings import SiteSettings
from replication.tls import calling
from replication.transport import plan_calling
from runbooks.audit_source import CONNECT_SECONDS, NoGrant
from runbooks.bureau_persons import read_persons
from runbooks.cells import site_settings
from runbooks.lending_core import open_core, open_portal
from runbooks.report_batches import (
    feedback_command,
    plan_step,
    run_or_exit,
    status_command,
    submit_command,
)
from runbooks.report_tables import tables_command

T = TypeVar("T")
PATIENCE_S = 30.0
"""Patience with a cell that changes its primary. Source: our choice, six times the promised 5 s."""
_PAUSE_S = 0.2
SHOWN = 50
"""Findings on the screen. Source: our choice; the manifest has them all."""
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_date = click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The evening.")
_since = click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Evening of the last filing; default: the month before's.",
)
_first = click.option("--first", is_flag=True, help="The first filing: everything since the beginning.")
_kind = click.option(
    "--kind", type=click.Choice([*(str(kind) for kind in Kind), "all"]), default="all", show_default=True
)
_STATEMENTS: TypeAdapter[Statements] = TypeAdapter(dict[str, dict[str, Statement]])
_out = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory."
)
_institution = click.option(
    "--institution", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML with licence, org, org_name, bureau_org; default: an example.",
)  # fmt: skip
_statements = click.option(
    "--statements", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML with figures that others keep: {G40: {capital: {yuan, as_of, owner, stated_by, document}}}.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """What a command was asked for."""

    day: dt.date
    since: dt.date | None
    kinds: tuple[Kind, ...]
    out: Path
    institution: Institution
    statements: Statements


Done = tuple[Made, submission.Standing | None]
"""A filing, and its batch when it was kept."""


@click.group()
def report() -> None:
    """Filings from one evening's books: EAST retail tables, credit-bureau records, 1104 returns.

    \b
    Compute and check:   biyi report run --date 2026-11-30 --kind all --out filings/
    Check only:          biyi report check --date 2026-11-30 --out filings/
    Submit:              biyi report submit east-20261130-001
    What became of it:   biyi report status
    What they found:     biyi report feedback east-20261130-001
    Correct:             biyi report correct --date 2026-11-30 --kind east --reason "…" --out filings/
    Where money went:    biyi report flows
    What is filed:       biyi report tables

    Names, order and codes follow third-party copies: what is not verified against the official text is
    labelled so in every manifest. The regulator of a stand is a fake. Files hold persons: keep them closed.
    """


def _wish(day: dt.datetime, out: Path, kind: str, how: Mapping[str, Any]) -> Wish:
    since: dt.date | None = how["since"].date() if how["since"] else default_since(day.date())
    if since is not None and since >= day.date():
        raise click.UsageError(f"--since {since}: needs an evening before {day.date()}")
    kinds = tuple(Kind) if kind == "all" else (Kind(kind),)
    who = how["institution"]
    try:
        institution = parse_yaml(str(who), read_text(who), TypeAdapter(Institution)) if who else Institution()
        said = how["statements"]
        statements = parse_yaml(str(said), read_text(said), _STATEMENTS) if said else {}
    except DocumentInvalid as error:
        raise click.UsageError(str(error)) from error
    return Wish(day.date(), None if how["first"] else since, kinds, out, institution, statements)


@report.command("run")
@_date
@_since
@_first
@_kind
@_out
@_institution
@_statements
@_json
def run_command(day: dt.datetime, out: Path, kind: str, as_json: bool, **how: Any) -> None:
    """Compute filings, check them, and keep what holds as batches ready to be submitted.

    \b
    biyi report run --date 2026-11-30 --out filings/                    # since 31 October, everything
    biyi report run --date 2026-11-30 --kind east --first --out filings/
    biyi report run --date 2026-11-30 --kind 1104 --statements finance.yaml --out filings/

    The evening must be closed (biyi day-end run). Run again it gives the same bytes and the same batch, at
    either site, also after business went on. Exit 1 when a check refuses: nothing is kept then, and the
    table, key, rule and values stand in the manifest and on the screen.
    """
    _end(_file(_wish(day, out, kind, how), keep="", as_json=as_json), as_json=as_json)


@report.command("check")
@_date
@_since
@_first
@_kind
@_out
@_institution
@_statements
@_json
def check_command(day: dt.datetime, out: Path, kind: str, as_json: bool, **how: Any) -> None:
    """Compute and check, and keep no batch: exit 1 when something would be refused.

    \b
    biyi report check --date 2026-11-30 --kind east --out trial/
    """
    _end(_file(_wish(day, out, kind, how), keep=None, as_json=as_json), as_json=as_json)


@report.command("correct")
@_date
@_since
@_first
@_kind
@_out
@_institution
@_statements
@click.option(
    "--reason", required=True, help="Why it is filed again; at least 5 characters, no personal data."
)
@_json
def correct_command(
    day: dt.datetime, out: Path, kind: str, reason: str, *, as_json: bool, **how: Any
) -> None:  # fmt: skip
    """Prepare a new version of what was accepted or rejected, from the books as they are now.

    \b
    biyi report correct --date 2026-11-30 --kind east --reason "class of 3 loans, R-1234" --out filings/
    """
    _end(_file(_wish(day, out, kind, how), keep=reason, as_json=as_json), as_json=as_json)


def _file(wish: Wish, *, keep: str | None, as_json: bool) -> list[Done]:
    """Make each filing; returns them with their batches (None: not kept). `keep`: a correction's reason."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("filings", total=None)

        def tell(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        return run_or_exit(_make(wish, keep, tell))


async def _make(wish: Wish, keep: str | None, tell: Callable[[str, int, int], None]) -> list[Done]:
    async with _open_house(wish.out, tell) as (house, core, portal):
        evening = Evening(
            wish.day, wish.since, wish.institution, read_class_limits(core.catalogue.rulebook, wish.day),
            core.catalogue.versions, wish.statements,
        )  # fmt: skip
        done: list[Done] = []
        for kind in wish.kinds:
            made = await _make_settled(house, kind, evening)
            standing = None
            if keep is not None and not made.findings:
                writer = portal.desk.directory
                standing = await submission.read_standing(
                    writer, await submission.prepare(writer, made, core.site, keep)
                )
            done.append((made, standing))
        return done


async def _make_settled(house: House, kind: Kind, evening: Evening) -> Made:
    """Make a filing; FilingRefused when slots were on their way: who moves is in two books then."""
    before = await _read_directory(house.cells)
    made = await make_filing(house, kind, evening)
    if before.moving is not None or await _read_directory(house.cells) != before:
        raise FilingRefused(
            "slots moved while the cells were read: file again when `biyi slot list` shows no move"
        )
    return made


async def _read_directory(cells: Sequence[str]) -> Directory:
    settings = next(iter(site_settings().values()))
    async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
        return (await read_record(etcd, cells)).directory


@asynccontextmanager
async def _open_house(
    out: Path, tell: Callable[[str, int, int], None]
) -> AsyncIterator[tuple[House, LendingCore, Portal]]:
    settings = next(iter(site_settings().values()))
    async with open_core() as core, open_portal() as portal:
        house = House(
            cells=tuple(core.router.cells),
            connect=lambda cell: connect_report(settings, cell),
            persons=lambda cell, ids: read_persons(core, cell, ids),
            tables=read_tables(),
            out=out,
            tell=tell,
        )
        yield house, core, portal


@asynccontextmanager
async def connect_report(settings: SiteSettings, cell: str) -> AsyncIterator[Connection]:
    """Connect as biyi_report to a cell's granted primary, across a failover; psycopg.Error after all."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = await _connect_granted(settings, cell)
            break
        except (psycopg.OperationalError, EtcdUnavailable, NoGrant, TimeoutError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(_PAUSE_S)
    async with connection:
        yield connection


async def _connect_granted(settings: SiteSettings, cell: str) -> Connection:
    async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
        grants = (await read_world(etcd)).grants
    if cell not in grants:
        raise NoGrant(f"no grant for {cell}; see `biyi cells`")
    place = settings.place(grants[cell].grant.primary.place)
    return await psycopg.AsyncConnection.connect(
        **plan_calling(place), dbname=DATABASE, user=REPORT, passfile=str(settings.passfile),
        connect_timeout=CONNECT_SECONDS, autocommit=True, application_name="biyi-report",
    )  # fmt: skip


def _end(done: Sequence[Done], *, as_json: bool) -> None:
    findings = [(made.kind, one) for made, _ in done for one in made.findings]
    if as_json:
        plain = [
            {
                **made.manifest(),
                "batch_id": batch.batch_id if batch else None,
                "findings": [asdict(one) for one in made.findings],
            }
            for made, batch in done
        ]
        click.echo(json.dumps(plain, ensure_ascii=False, default=str))
    else:
        for made, batch in done:
            rows = sum(table["rows"] for table in made.content["tables"].values())
            kept = f"batch {batch.batch_id} {batch.state}" if batch else "not kept"
            label = made.content["label"]["en"]
            click.echo(f"{made.kind}: {rows:,} rows, {len(made.findings)} findings, {kept} ({label})")
            if step := plan_step(batch.batch_id, batch.state) if batch else "":
                click.echo(f"  next: {step}")
        if any(made.content["institution"] == asdict(Institution()) for made, _ in done):
            click.echo("filed under the example institution; yours: --institution FILE", err=True)
        if findings:
            _show_findings(findings)
    sys.exit(1 if findings else 0)


def _show_findings(findings: Sequence[tuple[Kind, Finding]]) -> None:
    """Print the first findings, and where the rest is."""
    names = read_tables().name_tables()
    table = Table("filing", "cell", "table", "key", "rule", "found", "needs")
    for kind, one in findings[:SHOWN]:
        name = f"{one.table} {names.get(one.table, '')}".strip()
        table.add_row(kind, one.cell, name, one.key, one.rule, one.found, one.needed)
    Console().print(table)
    if len(findings) > SHOWN:
        click.echo(f"and {len(findings) - SHOWN} more: they stand in the manifests")
    click.echo("nothing leaves: mend the books, not the files, then run it again")


@report.command("flows")
@_json
def flows_command(as_json: bool) -> None:
    """Trace every yuan from funder to borrower and back; exit 1 when a loan is not reconciled."""
    settings = next(iter(site_settings().values()))

    async def work() -> list[tuple[str, Flows]]:
        found = []
        for cell in settings.cells:
            async with connect_report(settings, cell.name) as connection:
                found.append((cell.name, await trace_flows(connection, cell.name)))
        return found

    found = run_or_exit(work())
    if as_json:
        click.echo(json.dumps({cell: asdict(one) | {"reconciled": one.reconciled} for cell, one in found}))
    else:
        table = Table(
            "cell", "loans", "reconciled", "funded", "by partners", "paid out", "repaid", "outstanding",
            "told to partners", "to be told",
        )  # fmt: skip
        for cell, one in found:
            amounts = (
                one.funded_fen, one.by_partners_fen, one.paid_out_fen, one.repaid_fen, one.outstanding_fen,
                one.settled_net_fen, one.unsettled_net_fen,
            )  # fmt: skip
            yuan = (f"{fen / 100:,.2f}" for fen in amounts)
            table.add_row(cell, f"{one.loans:,}", f"{one.reconciled:,}", *yuan)
        Console().print(table)
        for odd in [odd for _, one in found for odd in one.exceptions][:50]:
            click.echo(f"{odd.cell} {odd.key}: {odd.rule}: found {odd.found}, needs {odd.needed}")
    sys.exit(1 if any(one.exceptions for _, one in found) else 0)


for command in (submit_command, status_command, feedback_command, tables_command):
    report.add_command(command)
