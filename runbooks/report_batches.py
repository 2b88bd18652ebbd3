"""Batches of filings: bring one to the regulator, see what became of it and what was found wrong."""

import asyncio
import json
import sys
from collections.abc import Awaitable
from dataclasses import asdict
from typing import TypeVar

import click
import psycopg
from rich.console import Console
from rich.table import Table

from compliance.reporting import submission
from compliance.reporting.batch import Kind, State
from compliance.reporting.errors import RegulatorSilent, ReportingError
from compliance.reporting.regulator import FakeRegulator, Fault, Regulator, Remark
from core_app.router import CellUnavailable
from replication.etcd import EtcdUnavailable
from runbooks.audit_source import NoGrant
from runbooks.lending_core import open_portal
from runbooks.stand.home import default_home
from runbooks.stand.topology import StandError

T = TypeVar("T")
KINDS = {
    Kind.EAST: "EAST 检查分析系统 retail tables",
    Kind.PBOC: "二代征信 credit-bureau records",
    Kind.RETURNS: "1104 非现场监管报表 returns",
}
"""What each kind is called on the screen."""
_ON_PURPOSE = "rejected on purpose, for practice 演练：有意退回"
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def run_or_exit(work: Awaitable[T]) -> T:
    """Run `work`; exit 3 when nothing is known yet, 1 with the refusal."""

    async def awaited() -> T:
        return await work

    try:
        return asyncio.run(awaited())
    except RegulatorSilent as error:
        click.echo(f"biyi report: {error}; it may have arrived: submit it again, at either site", err=True)
        sys.exit(3)
    except (CellUnavailable, EtcdUnavailable, TimeoutError, psycopg.OperationalError) as error:
        click.echo(f"biyi report: {type(error).__name__}: {error}; run it again", err=True)
        sys.exit(3)
    except (ReportingError, NoGrant, StandError, OSError) as error:
        raise click.ClickException(str(error)) from error


def stand_regulator(fault: Fault | None = None) -> Regulator:
    """Return the stand's regulator, a fake in a directory outside both sites, that does `fault` once."""
    waiting = [] if fault is None else [fault]
    remarks = (Remark("", "", "", _ON_PURPOSE),)
    folder = default_home() / "outside" / "regulator"
    return FakeRegulator(folder, lambda: waiting.pop() if waiting else None, remarks)


def plan_step(batch_id: str, state: State) -> str:
    """Return the command that comes next for a batch, empty when it is accepted."""
    return {
        State.PREPARED: f"biyi report submit {batch_id}",
        State.SENDING: f"biyi report submit {batch_id} (again, at either site)",
        State.RECEIVED: f"biyi report submit {batch_id} (again, later: asks for the feedback)",
        State.REJECTED: f"biyi report feedback {batch_id}; mend the books; biyi report correct",
    }.get(state, "")


@click.command("submit")
@click.argument("batch_id")
@click.option(
    "--site", type=click.Choice(["idc", "cloud"]), default="idc", show_default=True, help="From where."
)
@click.option(
    "--practise",
    type=click.Choice([fault.value for fault in Fault]),
    help="What the stand's fake regulator does wrong this once.",
)
@_json
def submit_command(batch_id: str, site: str, practise: str | None, as_json: bool) -> None:
    """Bring a batch to the regulator and to an end; repeat it after a lost answer, at either site.

    \b
    biyi report submit east-20261130-001
    biyi report submit east-20261130-001 --practise lose_answer   # exit 3; submit it again: filed once
    biyi report submit east-20261130-001 --practise reject        # exit 1; then feedback, and correct

    Exit 0 accepted, 1 rejected, 3 not known yet. The regulator of a stand is a fake: a directory.
    """

    async def work() -> submission.Standing:
        regulator = stand_regulator(Fault(practise) if practise else None)
        async with open_portal() as portal:
            return await submission.submit(portal.desk.directory, regulator, batch_id, site)

    standing = run_or_exit(work())
    if as_json:
        names = ("batch_id", "state", "receipt", "note")
        click.echo(json.dumps({name: getattr(standing, name) for name in names}))
    else:
        told = (f"{batch_id}: {standing.state}", standing.receipt or "", standing.note)
        click.echo(" ".join(part for part in told if part))
        if step := plan_step(batch_id, standing.state):
            click.echo(f"  next: {step}")
    sys.exit({State.ACCEPTED: 0, State.REJECTED: 1}.get(standing.state, 3))


@click.command("status")
@_json
def status_command(as_json: bool) -> None:
    """Show every batch, what became of it, and what comes next."""

    async def work() -> list[submission.Standing]:
        async with open_portal() as portal:
            return await submission.read_standings(portal.desk.directory)

    found = run_or_exit(work())
    if as_json:
        click.echo(json.dumps([{**asdict(one), "manifest": None} for one in found], default=str))
        return
    table = Table("batch", "filing", "evening", "state", "receipt", "corrects", "SM3", "note", "next")
    for one in found:
        table.add_row(
            one.batch_id, KINDS[one.kind], str(one.day), one.state, one.receipt or "-", one.corrects or "-",
            one.sm3[:16], one.note, "" if _is_corrected(one, found) else plan_step(one.batch_id, one.state),
        )  # fmt: skip
    Console().print(table)


def _is_corrected(one: submission.Standing, found: list[submission.Standing]) -> bool:
    return any(later.corrects == one.batch_id for later in found)


@click.command("feedback")
@click.argument("batch_id")
@_json
def feedback_command(batch_id: str, as_json: bool) -> None:
    """Show what the regulator found wrong with a batch, record by record; exit 1 when there is anything."""

    async def work() -> tuple[submission.Standing, list[Remark]]:
        async with open_portal() as portal:
            standing = await submission.read_standing(portal.desk.directory, batch_id)
            return standing, await submission.read_remarks(portal.desk.directory, batch_id)

    standing, remarks = run_or_exit(work())
    if as_json:
        click.echo(json.dumps([asdict(one) for one in remarks], ensure_ascii=False))
    elif not remarks:
        click.echo(f"{batch_id}: {standing.state}, no remarks")
    else:
        table = Table("table", "key", "field", "remark")
        for one in remarks:
            table.add_row(
                "the whole batch 整批" if one.table == "-" else one.table, one.key, one.field, one.text
            )
        Console().print(table)
    sys.exit(1 if remarks else 0)
