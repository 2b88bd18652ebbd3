"""Commands `biyi controls`: exit 0 done, 1 a live item is not met or refused, 2 usage, 3 could not tell."""

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from compliance.access import signing_in
from compliance.access.desk import Desk, Session
from compliance.access.errors import AccessRefused
from compliance.audit.digest import compute_sm3
from compliance.audit.errors import AuditError
from compliance.audit.signing import read_signer
from compliance.controls import attest as attesting
from compliance.controls.catalogue import Basis, Catalogue, read_catalogue
from compliance.controls.errors import ControlsError
from compliance.controls.gather import gather_readings
from compliance.controls.ground import Ground
from compliance.controls.judge import Seen, State, judge
from compliance.controls.pack import Run, render_attested, render_outcome, render_pack, render_score
from compliance.controls.probes.host import take_baseline
from compliance.controls.readings import canonical
from compliance.controls.score import compute_score
from core_app.router import CellUnavailable
from replication.etcd import EtcdUnavailable
from replication.model import Site
from runbooks.controls.cluster_cli import cluster_command
from runbooks.controls.page import STATE_WORDS, render_page
from runbooks.controls.stand_ground import BASELINE_ITEM, baseline_path, open_stand_ground
from runbooks.lending_core import open_portal
from runbooks.staff import HERE, session_file
from runbooks.stand.home import default_home
from runbooks.stand.topology import StandError, audit_key_path, read_stand, write_private

T = TypeVar("T")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_COLOURS = {State.MET: "green", State.NOT_MET: "red", State.UNKNOWN: "yellow"}
_SHOWN = 15
"""Gaps shown without --all. Source: our choice, a screen."""


@click.group()
def controls() -> None:
    """Level-3 (等保三级) control evidence: probe the running system, attest the rest, keep signed packs.

    \b
    What is asked:   biyi controls items [--basis live]
    Probe and judge: biyi controls run                       (15 s; leaves a signed pack in controls/)
    The report:      biyi controls report --html report.html
    What people say: biyi staff login zhang.san
                     biyi controls attest 8.1.6.1 --statement "Policy 2026-03 is in force" \\
                         --document policy.pdf --until 2027-06-30
                     biyi controls confirm T0123…           (a security or audit administrator)
    The baseline:    biyi controls baseline; then attest 8.1.10.8.a with .biyi/controls/baseline.json
    Two clusters:    biyi controls cluster --help
    An auditor:      biyi audit verify controls-000007.pack --keys auditor-keys.json

    Both scores are a self-check estimate, not an assessment. What cannot be read is unknown, never met.
    """


def _run(work: Awaitable[T]) -> T:
    async def awaited() -> T:
        return await work

    try:
        return asyncio.run(awaited())
    except (CellUnavailable, EtcdUnavailable, TimeoutError) as error:
        click.echo(f"biyi controls: {error}; look at `biyi cells`, then run it again", err=True)
        sys.exit(3)
    except AccessRefused as refusal:
        raise click.ClickException(refusal.detail) from refusal
    except (ControlsError, AuditError, StandError, OSError) as error:
        raise click.ClickException(str(error)) from error


@controls.command("items")
@click.option("--basis", type=click.Choice([str(one) for one in Basis]), help="Only items of this basis.")
@_json
def items_command(basis: str | None, as_json: bool) -> None:
    """Show the catalogue: every item with its basis, weight, owner and probes."""
    catalogue = read_catalogue()
    chosen = [one for one in catalogue.items.values() if basis in (None, str(one.basis))]
    if as_json:
        rows = [
            {"id": one.id, "class": one.category, "point": {"zh": one.point_text.zh, "en": one.point_text.en},
             "text": {"zh": one.text.zh, "en": one.text.en}, "basis": str(one.basis), "weight": one.weight,
             "owner": one.owner, "probes": [_plain_probe(catalogue, name) for name in one.probes]}
            for one in chosen
        ]  # fmt: skip
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table("item", "requirement", "basis", "weight", "owner", "probes")
    for one in chosen:
        text = f"{one.text.zh}\n{one.text.en}"
        table.add_row(one.id, text, one.basis, str(one.weight), one.owner, " ".join(one.probes))
    Console().print(table)


def _plain_probe(catalogue: Catalogue, name: str) -> dict[str, Any]:
    probe = catalogue.probes[name]
    checks = [{"fact": check.fact, "needs": check.needed} for check in probe.checks]
    return {"name": name, "max_age_s": probe.max_age_s, "checks": checks}


@controls.command("run")
@click.option("--all", "everything", is_flag=True, help="Show every gap.")
@_json
def run_command(everything: bool, as_json: bool) -> None:
    """Ask every probe on both sites, judge all 257 items, keep a signed pack and record the run.

    Exit 1 when an item that software alone decides is not met, 3 when one is not known; what only people can
    attest does not change the exit code.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("probes", total=None)
        done = _run(_make_run(lambda name, n, total: bar.update(
            task, description=name, completed=n, total=total)))  # fmt: skip
    run, path, _ = done
    catalogue = read_catalogue()
    if as_json:
        click.echo(json.dumps(_plain_run(run, path, catalogue), ensure_ascii=False))
    else:
        _tell(run, path, catalogue, everything=everything)
    live = [run.outcomes[item.id].state for item in catalogue.items.values() if item.basis is Basis.LIVE]
    sys.exit(1 if State.NOT_MET in live else 3 if State.UNKNOWN in live else 0)


async def _make_run(on_done: Callable[[str, int, int], None]) -> tuple[Run, Path, bytes]:
    catalogue = read_catalogue()
    async with open_stand_ground() as ground:
        readings = await gather_readings(ground, catalogue, on_done)
        attestations = await attesting.list_attestations(ground.desk)
        last = await attesting.read_last_run(ground.desk)
        seen = Seen(tuple(ground.sites), ground.read_now(), readings, attestations)
        outcomes = judge(catalogue, seen)
        score = compute_score(catalogue, outcomes)
        previous = last.pack_sm3.hex() if last.pack_sm3 else ""
        run = Run(last.number + 1, previous, ground.form, seen, outcomes, score)
        return run, *await _keep(ground, catalogue, run)


async def _keep(ground: Ground, catalogue: Catalogue, run: Run) -> tuple[Path, bytes]:
    """Write the pack, then record it: a recorded run has its pack."""
    stand = read_stand(default_home())
    content = render_pack(run, catalogue, read_signer(audit_key_path(stand, Site.IDC)))
    path = packs_path(stand.home) / f"controls-{run.number:06d}.pack"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, content.decode())
    await attesting.record_run(
        ground.desk,
        {
            "number": run.number, "pack_sm3": compute_sm3(content),
            "previous_sm3": bytes.fromhex(run.previous_sm3) or None, "form": run.form,
            "met": run.score.counts[State.MET], "not_met": run.score.counts[State.NOT_MET],
            "unknown": run.score.counts[State.UNKNOWN], "points_2021": run.score.points_2021,
            "met_percent": run.score.met_percent, "run_at": run.seen.now,
        },
    )  # fmt: skip
    return path, content


def packs_path(home: Path) -> Path:
    """Return where packs lie."""
    return home / "controls"


def _plain_run(run: Run, path: Path, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "number": run.number, "pack": str(path), "form": run.form, "score": render_score(run.score),
        "gaps": [
            {"item": gap.item, "state": str(gap.state), "cost": gap.cost, "triggers": list(gap.triggers),
             "owner": catalogue.items[gap.item].owner,
             "stand": catalogue.stand_notes[gap.item].en if gap.item in catalogue.stand_notes else None}
            for gap in run.score.gaps
        ],
        "items": {item: render_outcome(one) for item, one in run.outcomes.items()},
        "readings": [one.to_plain() for one in run.seen.readings],
    }  # fmt: skip


def _tell(run: Run, path: Path, catalogue: Catalogue, *, everything: bool) -> None:
    score, console = run.score, Console()
    live = [run.outcomes[item.id].state for item in catalogue.items.values() if item.basis is Basis.LIVE]
    console.print(
        f"Run {run.number}: {score.counts[State.MET]} met, {score.counts[State.NOT_MET]} not met, "
        f"{score.counts[State.UNKNOWN]} unknown, of {len(catalogue.items)} items. Software alone decides "
        f"{len(live)}: {live.count(State.MET)} met, {live.count(State.NOT_MET)} not met, "
        f"{live.count(State.UNKNOWN)} unknown.",
        highlight=False,
    )
    console.print(
        f"2025 template: {score.met_percent} % ({score.if_known_percent} % if every unknown were met), "
        f"{score.conclusion_2025}. 2021 template: {score.points_2021} points, {score.band_2021}. "
        "自查估算，不是等级测评结论 Self-check estimate, not an assessment.",
        highlight=False,
    )
    table = Table("item", "requirement", "state", "costs", "risk", "why")
    gaps = sorted(score.gaps, key=lambda gap: catalogue.items[gap.item].basis is not Basis.LIVE)
    for gap in gaps if everything else gaps[:_SHOWN]:
        item, outcome = catalogue.items[gap.item], run.outcomes[gap.item]
        why = "; ".join(dict.fromkeys(reason for v in outcome.verdicts for reason in v.reasons))
        if gap.item in catalogue.stand_notes and run.form == "stand":
            why += f" [{catalogue.stand_notes[gap.item].en}]"
        state = f"[{_COLOURS[gap.state]}]{STATE_WORDS[gap.state]}[/]"
        table.add_row(gap.item, item.text.en, state, f"{gap.cost:.2f}", " ".join(gap.triggers), why)
    console.print(table)
    if not everything and len(gaps) > _SHOWN:
        console.print(f"and {len(gaps) - _SHOWN} more gaps: --all, or `biyi controls report --html FILE`")
    console.print(f"pack: {path}", soft_wrap=True, highlight=False)


@controls.command("report")
@click.option(
    "--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the page here."
)
@_json
def report_command(html_file: Path | None, as_json: bool) -> None:
    """Probe and judge anew, then write the report: a page, JSON, or the summary."""
    run, path, content = _run(_make_run(lambda *_: None))
    catalogue = read_catalogue()
    if html_file is not None:
        history = _run(_with_desk(lambda desk: attesting.list_runs(desk, 50)))
        page = render_page(run, catalogue, compute_sm3(content).hex(), history)
        html_file.write_text(page, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(_plain_run(run, path, catalogue), ensure_ascii=False))
    elif html_file is None:
        _tell(run, path, catalogue, everything=True)
    else:
        click.echo(f"{html_file}; pack: {path}")


@controls.command("history")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@_json
def history_command(limit: int, as_json: bool) -> None:
    """Show the newest runs and the hashes of their packs."""
    rows = _run(_with_desk(lambda desk: attesting.list_runs(desk, limit)))
    if as_json:
        click.echo(json.dumps(rows, default=str))
        return
    table = Table("run", "when (UTC)", "met", "not met", "unknown", "2025 %", "2021", "pack SM3")
    for row in rows:
        table.add_row(*(str(row[name])[:19] for name in (
            "number", "run_at", "met", "not_met", "unknown", "met_percent", "points_2021", "pack_sm3",
        )))  # fmt: skip
    Console().print(table)


@controls.command("baseline")
def baseline_command() -> None:
    """Write down the present configuration of both sites, for two people to approve (item 8.1.10.8.a)."""

    async def work() -> Path:
        async with open_stand_ground() as ground:
            path = baseline_path(default_home())
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(path, canonical(await take_baseline(ground)).decode())
            return path

    click.echo(f"{_run(work())}: look at it, then attest {BASELINE_ITEM} with it, and have it confirmed")


async def _with_desk(work: Callable[[Desk], Awaitable[T]]) -> T:
    async with open_portal() as portal:
        return await work(portal.desk)


async def _as_staff(work: Callable[[Desk, Session], Awaitable[T]]) -> T:
    try:
        token = session_file().read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise click.ClickException("Nobody is logged in: biyi staff login NAME") from error

    async def known(desk: Desk) -> T:
        return await work(desk, await signing_in.authenticate(desk, token, HERE))

    return await _with_desk(known)


@controls.command("attest")
@click.argument("item")
@click.option("--statement", required=True, help="What is so, in a sentence or two; no personal data.")
@click.option("--document", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
              help="The paper it rests on; its SM3 is kept.")  # fmt: skip
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last day; at most a year.")
@click.option("--not-met", is_flag=True, help="Say that the item is not met.")
@_json
def attest_command(
    item: str, statement: str, document: Path, until: dt.datetime, *, not_met: bool, as_json: bool
) -> None:
    """Attest ITEM as whoever is logged in; counts once a second person has confirmed it."""
    today = dt.datetime.now(dt.UTC).date()  # noqa: TID251 - a command is a shell: it reads the clock
    content = document.read_bytes()
    wish = attesting.Wish(item, not not_met, statement, document.name, content, today, until.date())
    attestation_id = _run(
        _as_staff(lambda desk, session: attesting.attest(desk, read_catalogue(), session, wish))
    )
    click.echo(
        json.dumps({"attestation_id": attestation_id})
        if as_json
        else f"{attestation_id}: now somebody else, biyi controls confirm {attestation_id}"
    )


@controls.command("confirm")
@click.argument("attestation_id")
def confirm_command(attestation_id: str) -> None:
    """Confirm somebody else's attestation, as a security or audit administrator."""
    _run(_as_staff(lambda desk, session: attesting.confirm(desk, session, attestation_id)))
    click.echo(f"{attestation_id}: confirmed")


@controls.command("withdraw")
@click.argument("attestation_id")
@click.option("--reason", required=True)
def withdraw_command(attestation_id: str, reason: str) -> None:
    """Take an attestation back for good."""
    _run(_as_staff(lambda desk, session: attesting.withdraw(desk, session, attestation_id, reason)))
    click.echo(f"{attestation_id}: withdrawn")


@controls.command("attestations")
@_json
def attestations_command(as_json: bool) -> None:
    """Show every attestation: item, who made and confirmed it, until when it holds."""
    found = _run(_with_desk(attesting.list_attestations))
    if as_json:
        click.echo(json.dumps([render_attested(one) for one in found], ensure_ascii=False))
        return
    table = Table("item", "id", "holds", "made by", "confirmed by", "until", "document", "withdrawn")
    for one in found:
        table.add_row(
            one.item, one.attestation_id, "yes" if one.holds else "no", one.made_by, one.confirmed_by or "-",
            str(one.valid_to), one.document, "yes" if one.withdrawn else "",
        )  # fmt: skip
    Console().print(table)


controls.add_command(cluster_command)
