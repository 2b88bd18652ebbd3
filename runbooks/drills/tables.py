"""Print a drill's result for people who have never seen one."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runbooks.drills.certificate_rotation import RotationResult
from runbooks.drills.channel_loss import ChannelLossResult
from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.key_rotation import KeyRotationResult
from runbooks.drills.one_fault import OneFaultResult
from runbooks.drills.plan import Plan
from runbooks.drills.planned_move import MovesResult
from runbooks.drills.story import say_count, say_site_loss
from runbooks.drills.verdict import CellResult, SiteLossResult
from runbooks.drills.wording import MEANINGS, VERDICT_WORDS

_STYLES = {Verdict.HOLDS: "green", Verdict.BROKEN: "bold red", Verdict.UNKNOWN: "bold yellow"}


def print_site_loss(console: Console, result: SiteLossResult, plain: Mapping[str, Any]) -> None:
    """Print what was killed, how long customers waited, what was lost, and every check."""
    console.print()
    console.print(say_site_loss(result, plain)[0], highlight=False)
    table = Table(title="What customers of each cell saw", title_justify="left", title_style="bold")
    for name in ("cell", "home", "its primary", "kill to first write", "longest pause", "failed", "epoch"):
        table.add_column(name, justify="left" if name in ("cell", "home", "its primary") else "right")
    for name, cell in result.cells.items():
        table.add_row(*_cell_row(name, cell))
    console.print(table)
    _print_requests(console, plain)
    console.print(
        f"Restart to back in sync {_s(result.rejoin_seconds)}; "
        f"cells went home by themselves: {'yes' if result.failed_back else 'NO'}.",
        highlight=False,
    )
    print_checks(console, result.findings)
    console.print(f"Evidence: {plain['evidence']}/report.html", highlight=False, soft_wrap=True)


def print_one_fault(console: Console, result: OneFaultResult) -> None:
    """Print how long each cell's writes paused, what was lost, and every check."""
    pauses = result.plain["write_pause_seconds"]
    told = ", ".join(f"cell {cell} {seconds:.2f} s" for cell, seconds in pauses.items())
    console.print(f"Longest write pause: {told}.", highlight=False)
    _print_requests(console, result.plain)
    print_checks(console, result.findings)
    console.print(f"Evidence: {result.plain['evidence']}/report.html", highlight=False, soft_wrap=True)


def print_moves(console: Console, result: MovesResult) -> None:
    """Print each move with its write pause, and every check."""
    table = Table(title="Planned moves under load", title_justify="left", title_style="bold")
    for name in ("cell", "to", "write pause", "outcome"):
        table.add_column(name)
    for move, seconds in zip(result.moves, result.pauses_s, strict=True):
        table.add_row(move.cell, move.to, f"{seconds:.3f} s", move.why)
    console.print(table)
    pause = result.plain["pause_seconds"]
    console.print(
        f"Write pause p50 {pause['p50']} s, p99 {pause['p99']} s, max {pause['max']} s.", highlight=False
    )
    _print_requests(console, result.plain)
    print_checks(console, result.findings)
    console.print(f"Evidence: {result.plain['evidence']}/report.html", highlight=False, soft_wrap=True)


def print_rotation(console: Console, result: RotationResult) -> None:
    """Print what each door made of the new and the old certificates, and every check."""
    table = Table(title="Doors after the rotation", title_justify="left", title_style="bold")
    for name in ("door", "TLS", "new certificate", "old certificate"):
        table.add_column(name)
    for name, facts in result.plain["doors"].items():
        table.add_row(name, facts["tls"], facts["new"], facts["old"])
    console.print(table)
    console.print(
        f"{result.plain['renewed']} certificates renewed, the old ones revoked after "
        f"{_s(result.plain['renewal_seconds'])}.",
        highlight=False,
    )
    _print_requests(console, result.plain)
    print_checks(console, result.findings)
    console.print(f"Evidence: {result.plain['evidence']}/report.html", highlight=False, soft_wrap=True)


def print_channel_loss(console: Console, result: ChannelLossResult) -> None:
    """Print how fast the traffic moved, what each bank paid, and every check."""
    plain, switch = result.plain, result.switch
    console.print()
    console.print(
        f"{plain['channel']} was killed under load; payouts had moved to the other bank after "
        f"{_s(switch.seconds)}. {switch.paid_while_dead} orders were paid there meanwhile, waiting "
        f"{switch.wait_p50_s:.2f} s in the middle and {switch.wait_max_s:.2f} s at most; "
        f"{switch.in_doubt} were in doubt and waited for the dead bank's word. "
        f"Paid twice: {say_count(plain['paid_twice'])}.",
        highlight=False,
    )
    books = ", ".join(f"{bank} {count:,}" for bank, count in plain["paid_in_books"].items())
    console.print(f"Payments in the banks' books: {books}.", highlight=False)
    _print_requests(console, plain)
    print_checks(console, result.findings)
    console.print(f"Evidence: {plain['evidence']}/report.html", highlight=False, soft_wrap=True)


def print_key_rotation(console: Console, result: KeyRotationResult) -> None:
    """Print how long it took, what is under which version, and every check."""
    plain = result.plain
    rows = sum(count for found in plain["rows"].values() for count in found.values())
    console.print()
    console.print(
        f"All keys replaced under load within {plain['seconds']} s, cut off, resumed, through a failover: "
        f"{rows:,} customers are under version {plain['version']}, none under an older one. "
        f"{plain['reads']:,} reads of people meanwhile, {say_count(plain['bad_reads'])} wrong.",
        highlight=False,
    )
    _print_requests(console, plain)
    print_checks(console, result.findings)
    console.print(f"Evidence: {plain['evidence']}/report.html", highlight=False, soft_wrap=True)


def print_plain(console: Console, plain: Mapping[str, Any]) -> None:
    """Print a result that has no table of its own, a line a value."""
    for name, value in plain.items():
        console.print(f"{name}: {value}", highlight=False, soft_wrap=True)


def _cell_row(name: str, cell: CellResult) -> tuple[str, ...]:
    epoch = f"{cell.epoch_before} → {cell.epoch_after}" if cell.lost_primary else str(cell.epoch_before)
    return (
        name,
        cell.home,
        "was killed" if cell.lost_primary else "survived",
        _s(cell.rto_seconds) if cell.lost_primary else "kept writing",
        _s(cell.pause_seconds),
        str(cell.failed),
        epoch,
    )


def _print_requests(console: Console, plain: Mapping[str, Any]) -> None:
    console.print(
        f"{plain['requests']:,} operations: {plain['acknowledged']:,} acknowledged, "
        f"{plain['failed']:,} failed, "
        f"{plain['unknown']:,} unknown ({plain['unknown_unresolved']:,} still so); "
        f"{say_count(plain['lost'])} acknowledged writes lost.",
        highlight=False,
    )


def print_checks(console: Console, findings: tuple[Finding, ...]) -> None:
    """Print every check with its verdict and first examples."""
    table = Table(title="Checks", title_justify="left", title_style="bold", show_header=False)
    for finding in findings:
        meaning, _ = MEANINGS.get(finding.name, (finding.name, ""))
        word, _ = VERDICT_WORDS[finding.verdict]
        detail = "".join(f"\n  {example[:140]}" for example in finding.examples[:3])
        looked = f"{finding.looked_at:,} looked at" if finding.looked_at > 1 else ""
        table.add_row(Text(word, style=_STYLES[finding.verdict]), Text(meaning + detail), looked)
    console.print(table)


def _s(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def print_plan(console: Console, plan: Plan) -> None:
    """Print what a drill would do, what stands in its way, and the command that does it."""
    console.print(f"{plan.runbook.title}", style="bold", highlight=False)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for number, step in enumerate(plan.steps, start=1):
        table.add_row(str(number), step)
    for section in ("Expected time", "Who approves", "Abort rule"):
        table.add_row(section, plan.runbook.sections[section])
    console.print(table)
    for obstacle in plan.obstacles:
        console.print(f"could not begin: {obstacle}", style="bold red", highlight=False)
    if not plan.obstacles:
        console.print("It could begin now.", style="green")
    console.print(f"Nothing was done. To run it: {plan.command}", highlight=False, soft_wrap=True)
