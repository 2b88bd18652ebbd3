"""Commands `biyi drill list | show | history | schedule | verify`: what can be drilled, and what was."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from compliance.audit.errors import AuditKeyError
from compliance.audit.signing import read_public_keys
from runbooks.drills.catalogue import DRILLS, SECTIONS, read_runbook
from runbooks.drills.past import LAW_DAYS, OURS_DAYS, Due, PastDrill, make_schedule, read_past
from runbooks.drills.seal import verify_evidence
from runbooks.stand.home import default_home

_STYLES = {"holds": "green", "broken": "bold red", "unknown": "bold yellow", "unfinished": "yellow"}
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON array and nothing else.")


@click.command("list")
@_json
def list_command(as_json: bool) -> None:
    """Show which drills there are."""
    if as_json:
        rows = [
            {
                "drill": d.name, "text": d.text, "text_zh": d.text_zh, "command": d.words,
                "takes": list(d.takes), "dangerous": d.dangerous,
            }
            for d in DRILLS.values()
        ]  # fmt: skip
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for drill in DRILLS.values():
        click.echo(f"{drill.name:20} {drill.text}")


@click.command("show")
@click.argument("name", type=click.Choice(list(DRILLS)))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def show_command(name: str, as_json: bool) -> None:
    """Show a drill's runbook: when it is due, who approves, how long it takes, how to stop it, its steps."""
    drill = DRILLS[name]
    runbook = read_runbook(drill)
    if as_json:
        plain = {
            "drill": name,
            "title": runbook.title,
            **runbook.sections,
            "command": f"biyi drill run {drill.words} --execute",
        }
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    console = Console()
    console.print(f"{name} - {drill.text_zh}", style="bold", highlight=False)
    console.print(runbook.title, highlight=False)
    table = Table(show_header=False, box=None, padding=(1, 2, 0, 0))
    for section in SECTIONS:
        table.add_row(section, runbook.sections[section])
    table.add_row("Run it", f"biyi drill run {drill.words} --execute (without it: only the plan)")
    console.print(table)


@click.command("history")
@click.option("--drill", "name", type=click.Choice(list(DRILLS)), help="Only this one.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Newest so many.")
@_json
def history_command(name: str | None, limit: int, as_json: bool) -> None:
    """Show the drills that were run on this stand, newest first, with what came of them."""
    past = [one for one in read_past(default_home()) if name in (None, one.drill)][:limit]
    if as_json:
        click.echo(json.dumps([one.to_plain() for one in past], ensure_ascii=False))
        return
    if not past:
        click.echo("no drill was run here yet; `biyi drill list` shows which there are")
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in ("started (UTC)", "drill", "site", "verdict", "acked", "lost", "failed", "RTO/pause"):
        counted = column in ("acked", "lost", "failed", "RTO/pause")
        table.add_column(column, justify="right" if counted else "left", no_wrap=True)
    for one in past:
        table.add_row(*_row_of(one))
        if one.broken:
            table.add_row("", f"[red]{', '.join(one.broken)}[/]")
    Console().print(table)
    click.echo(f"each one's report and history: {past[0].folder.parent}")


def _row_of(one: PastDrill) -> tuple[str, ...]:
    seconds = one.rto_seconds if one.rto_seconds is not None else one.pause_seconds
    style = _STYLES.get(one.verdict, "bold red")
    return (
        f"{one.started_at:%y-%m-%d %H:%M}",
        one.drill,
        one.site or "-",
        f"[{style}]{one.verdict}[/]",
        *("-" if count is None else f"{count:,}" for count in (one.acknowledged, one.lost, one.failed)),
        "-" if seconds is None else f"{seconds:.2f} s",
    )


@click.command("schedule")
@_json
def schedule_command(as_json: bool) -> None:
    """Show when each drill last held and which are overdue; exit 1 while one is.

    Only a drill that held counts. Ours is a month; the Level-3 scheme wants a year at most.
    """
    now = datetime.now(UTC)  # noqa: TID251 - a calendar is about people's time
    schedule = make_schedule(read_past(default_home()), now)
    if as_json:
        click.echo(json.dumps([due.to_plain() for due in schedule], ensure_ascii=False))
    else:
        table = Table("drill", "last held", "last run", "due", "state", box=None, padding=(0, 2, 0, 0))
        for due in schedule:
            table.add_row(*_due_row(due))
        Console().print(table)
        click.echo(f"a drill is due {OURS_DAYS} days after it last held; the law's limit is {LAW_DAYS} days")
    sys.exit(1 if any(due.overdue for due in schedule) else 0)


def _due_row(due: Due) -> tuple[str, ...]:
    if due.last_held is None or due.due_at is None:
        state, held, until = "[bold red]never held[/]", "-", "now"
    else:
        held, until = f"{due.last_held:%Y-%m-%d %H:%M}", f"{due.due_at:%Y-%m-%d}"
        state = "[green]in time[/]"
        if due.overdue:
            state = "[bold red]beyond a year[/]" if due.unlawful else "[bold yellow]overdue[/]"
    return due.drill, held, due.last_run.verdict if due.last_run else "-", until, state


@click.command("verify")
@click.option(
    "--keys",
    "keys_path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The auditor's list of public keys (`biyi audit keys`).",
)
@click.option("--evidence", type=click.Path(path_type=Path, file_okay=False), help="A copy of the folders.")
@_json
def verify_command(keys_path: Path, evidence: Path | None, as_json: bool) -> None:
    """Verify the seals of all drills' evidence; exit 1 when a folder was changed, added or taken away.

    Needs the folders and the keys only: no stand, no database.
    """
    folder = evidence or default_home() / "evidence"
    try:
        found = list(verify_evidence(folder, read_public_keys(keys_path)))
    except AuditKeyError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
    else:
        for one in found:
            click.echo(
                f"{one.folder}: {'DOES NOT HOLD' if one.findings else f'holds, signed by {one.signed_by}'}"
            )
            for finding in one.findings:
                click.echo(f"  {finding}")
        last = next((one for one in reversed(found) if one.sm3), None)
        click.echo(f"SM3 of the last seal: {last.sm3}" if last else f"no sealed drill in {folder}")
    sys.exit(1 if any(one.findings for one in found) else 0)
