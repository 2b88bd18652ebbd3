"""`biyi deploy preview | up | drift | destroy | cost`: both sites' infrastructure, stack by stack."""

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from runbooks.deploy.cost import PricesInvalid, estimate, parse_prices
from runbooks.deploy.engine import EngineMissing, PulumiEngine, Tell, read_stacks
from runbooks.deploy.run import Runner
from runbooks.deploy.steps import (
    Outcome,
    StackFile,
    StackResult,
    StacksRefused,
    changes_of,
    count_ops,
    exit_code,
    plan_order,
    summarise_sites,
)  # fmt: skip
from runbooks.stand.home import default_home

ROOT = Path(__file__).parent.parent.parent
_COLOURS = {
    Outcome.SAME: "green", Outcome.DONE: "green", Outcome.CHANGES: "yellow", Outcome.REFUSED: "red",
    Outcome.FAILED: "red", Outcome.SKIPPED: "red",
}  # fmt: skip
_STACK = click.option("--stack", "asked", multiple=True, help="This stack only; may be given more than once.")
_SITE = click.option("--site", help="The stacks of this site only: idc, cloud or witness.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_KNOW = click.option(
    "--i-know", "known", multiple=True, metavar="'TYPE NAME'", help="Let this one protected resource go."
)
_EXECUTE = click.option("--execute", is_flag=True, help="Act. Without it nothing is changed.")

Act = Callable[[Runner, Sequence[StackFile]], list[StackResult]]


@click.group()
def deploy() -> None:
    """Bring up, compare and take down what infra/ describes, in the order in which stacks need each other.

    \b
    What would change:        biyi deploy preview
    Do it:                    biyi deploy up --execute
    One site only:            biyi deploy up --site cloud --execute
    Changed by hand?          biyi deploy drift
    What does it cost:        biyi deploy cost
    Exit codes: 0 nothing to do or done, 1 refused, 2 usage, 3 a stack failed, 4 changes were found
    """


@deploy.command("preview")
@_STACK
@_SITE
@_KNOW
@_JSON
def preview_command(asked: Sequence[str], site: str | None, known: Sequence[str], as_json: bool) -> None:
    """Show what `up` would do to each stack, and what it would refuse. Changes nothing."""
    _work(Runner.preview, (asked, site), known=known, as_json=as_json)


@deploy.command("up")
@_STACK
@_SITE
@_KNOW
@_EXECUTE
@_JSON
def up_command(
    asked: Sequence[str], site: str | None, known: Sequence[str], execute: bool, as_json: bool
) -> None:
    """Bring the stacks to what infra/ says; without --execute it is a preview.

    Each stack is previewed, refused if it would replace or delete what is protected, its state is written to
    $BIYI_HOME/deploy, then it is changed. A stack that fails, for instance because its site is down, holds
    up only the stacks that need it.
    """
    _work(Runner.up if execute else Runner.preview, (asked, site), known=known, as_json=as_json)


@deploy.command("drift")
@_STACK
@_SITE
@_JSON
def drift_command(asked: Sequence[str], site: str | None, as_json: bool) -> None:
    """Show what somebody changed past the program. Changes neither the world nor the state."""
    _work(Runner.drift, (asked, site), known=(), as_json=as_json)


@deploy.command("destroy")
@_STACK
@_SITE
@_KNOW
@_EXECUTE
@_JSON
def destroy_command(
    asked: Sequence[str], site: str | None, known: Sequence[str], execute: bool, as_json: bool
) -> None:
    """End the stacks, last first; without --execute it shows them. What is protected has to be named."""
    if not execute:
        stacks = [stack.name for stack in _stacks((asked, site))]
        click.echo(
            f"would end, in this order: {', '.join(reversed(stacks)) or 'nothing'}; add --execute", err=True
        )
        sys.exit(1)
    _work(Runner.destroy, (asked, site), known=known, as_json=as_json)


@deploy.command("cost")
@_STACK
@_SITE
@click.option(
    "--prices", type=click.Path(path_type=Path, dir_okay=False), default=ROOT / "infra/stacks/prices.yaml",
    help="Price table.",
)  # fmt: skip
@_JSON
def cost_command(asked: Sequence[str], site: str | None, prices: Path, as_json: bool) -> None:
    """Estimate what the stacks cost a month, from a dated price table and a preview. It is no bill."""
    try:
        table = parse_prices(prices.read_text(encoding="utf-8"))
    except (PricesInvalid, OSError) as error:
        click.echo(f"biyi deploy cost: {error}", err=True)
        sys.exit(1)
    today = dt.datetime.now(dt.UTC).date()  # noqa: TID251 - the age of the table, for people
    results = _run(Runner.preview, (asked, site), known=(), quiet=as_json)
    found = estimate(results, table, today)
    head = f"estimate, no bill: {table.currency} {found.fen / 100:,.2f} a month"
    head += f", prices of {table.as_of} ({table.source})"
    if as_json:
        lines = [asdict(line) for line in found.lines]
        plain = {
            "estimate": True, "fen": found.fen, "currency": table.currency, "as_of": str(table.as_of),
            "source": table.source, "stale": found.is_stale, "unknown": found.unknown, "lines": lines,
        }  # fmt: skip
        click.echo(json.dumps(plain, ensure_ascii=False))
    else:
        shown = Table("stack", "resource", "what", table.currency, title=head)
        for line in found.lines:
            shown.add_row(
                line.stack, line.name, line.what, "?" if line.fen is None else f"{line.fen / 100:,.2f}"
            )
        Console().print(shown)
        if found.unknown:
            click.echo(f"not in the table, so not in the sum: {', '.join(found.unknown)}")
        if found.is_stale:
            click.echo(f"the prices are {found.age_days} days old: look them up anew")
    failed = [result for result in results if result.outcome in (Outcome.FAILED, Outcome.SKIPPED)]
    sys.exit(exit_code(failed))


Chosen = tuple[Sequence[str], str | None]


def _stacks(chosen: Chosen) -> tuple[StackFile, ...]:
    asked, site = chosen
    try:
        found = plan_order(read_stacks(ROOT / "infra/stacks"), asked)
    except StacksRefused as refused:
        raise click.UsageError(str(refused)) from refused
    if site is not None and site not in {stack.site for stack in found}:
        raise click.UsageError(
            f"no stack of site {site!r}; sites: {', '.join(sorted({s.site for s in found}))}"
        )
    return tuple(stack for stack in found if site in (None, stack.site))


def _work(act: Act, chosen: Chosen, *, known: Sequence[str], as_json: bool) -> None:
    results = _run(act, chosen, known=known, quiet=as_json)
    if as_json:
        click.echo(json.dumps(as_plain(results), ensure_ascii=False))
    else:
        _show(results)
    sys.exit(exit_code(results))


def _run(act: Act, chosen: Chosen, *, known: Sequence[str], quiet: bool) -> list[StackResult]:
    stacks = _stacks(chosen)
    engine = PulumiEngine(ROOT, ROOT / "infra/policy_pack")
    with _progress(quiet) as watch:
        runner = Runner(engine, default_home() / "deploy", _read_now, watch, frozenset(known))
        try:
            return act(runner, stacks)
        except EngineMissing as missing:
            click.echo(f"biyi deploy: {missing}", err=True)
            sys.exit(3)


def _read_now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")  # noqa: TID251 - the name of a file


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, str], Tell]]:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        running: list[TaskID] = []

        def watch(stack: str, doing: str) -> Tell:
            for task in running:
                progress.stop_task(task)
            running[:] = [progress.add_task(f"{stack}: {doing}")]
            return lambda count: progress.update(
                running[-1], description=f"{stack}: {doing}, {count} resources"
            )

        yield watch


def as_plain(results: Sequence[StackResult]) -> dict[str, Any]:
    """Return the results as one document: stacks with what changes, and the sum of each site."""
    stacks = [
        {
            "stack": result.stack, "site": result.site, "outcome": str(result.outcome), "why": result.why,
            "seconds": result.seconds, "state_file": result.state_file, "counts": count_ops(result.steps),
            "changes": [
                {"op": step.op, "type": step.type, "name": step.name, "changed": step.changed,
                 "protected": step.protected}
                for step in changes_of(result.steps)
            ],
        }
        for result in results
    ]  # fmt: skip
    return {"stacks": stacks, "sites": summarise_sites(results)}


def _show(results: Sequence[StackResult]) -> None:
    console = Console()
    table = Table("stack", "site", "outcome", "steps", "seconds")
    for result in results:
        colour = _COLOURS[result.outcome]
        steps = ", ".join(f"{count} {op}" for op, count in count_ops(result.steps).items()) or "-"
        table.add_row(
            result.stack, result.site, f"[{colour}]{result.outcome}[/]", steps, f"{result.seconds:.1f}"
        )
    console.print(table)
    for result in results:
        for step in changes_of(result.steps):
            detail = f" ({', '.join(step.changed)})" if step.changed else ""
            console.print(
                f"  {result.stack}: {step.op} {step.type} {step.name}{detail}", markup=False, highlight=False
            )
        if result.why:
            console.print(f"{result.stack}: {result.why}", markup=False, highlight=False)
    for site, counts in summarise_sites(results).items():
        click.echo(f"{site}: " + (", ".join(f"{count} {op}" for op, count in counts.items()) or "no change"))
