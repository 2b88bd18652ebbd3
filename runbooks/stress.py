"""`biyi risk stress`: what a dated scenario does to one evening's provisions, ratios and cash."""

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from compliance.protection.errors import ProtectionError
from core_app.errors import DocumentInvalid
from core_app.indicators.table import State
from core_app.rules.read import read_rulebook
from core_app.stress.read import (
    NoEvening,
    find_evening,
    find_scenario,
    read_finance,
    read_portfolio,
    read_shipped,
    read_tables,
)
from core_app.stress.runoff import CashDay
from core_app.stress.scenario import NO_SHOCK, Finance, Scenario, check_use, make_schema
from core_app.stress.shock import Outcome, Portfolio, stress
from replication.etcd import EtcdUnavailable
from replication.settings import SettingsError
from runbooks.audit_source import NoGrant
from runbooks.cells import site_settings
from runbooks.indicators import show
from runbooks.report import connect_report

_FILE = click.Path(path_type=Path, dir_okay=False)
_COLOURS = {State.BREACHED: "red", State.UNKNOWN: "yellow", State.WITHIN: "green", State.NOTHING: "dim"}


@dataclass(frozen=True, slots=True)
class Tested:
    """One scenario and what came of it."""

    scenario: Scenario
    outcome: Outcome

    @property
    def breached(self) -> bool:
        """Say whether a ratio is beyond its bound."""
        return any(one.state is State.BREACHED for one in self.outcome.standings)


def run_all(
    portfolio: Portfolio, scenarios: Sequence[Scenario], finance: Finance | None
) -> tuple[Tested, ...]:
    """Return the outcome without a shock, then of each scenario; DocumentInvalid when one may not be used."""
    for scenario in scenarios:
        check_use(scenario, finance, portfolio.day)
    rulebook, tables = read_rulebook(), read_tables()
    return tuple(
        Tested(one, stress(portfolio, one, finance, rulebook, tables)) for one in (NO_SHOCK, *scenarios)
    )


def as_plain(portfolio: Portfolio, tested: Sequence[Tested], finance: Finance | None) -> dict[str, Any]:
    """Return everything as JSON has it: amounts in fen, cash day by day."""
    return {
        "evening": portfolio.day.isoformat(),
        "provision_in_ledger_fen": portfolio.ledger_provision_fen,
        "finance": finance.model_dump(mode="json") if finance is not None else None,
        "scenarios": [_plain(one) for one in tested],
    }


def _plain(one: Tested) -> dict[str, Any]:
    outcome, runoff = one.outcome, one.outcome.runoff
    short = runoff.first_short
    return {
        "scenario": one.scenario.model_dump(mode="json", by_alias=True),
        "balances_fen": {str(name): fen for name, fen in outcome.balances_fen.items()},
        "provision_fen": outcome.provision_fen,
        "loss_fen": outcome.loss_fen,
        "ratios": [show(standing) for standing in outcome.standings],
        "cash": {
            "lowest_on": runoff.lowest.on.isoformat(),
            "lowest_net_fen": runoff.lowest.net_fen,
            "first_short_on": short.on.isoformat() if short else None,
            "later_principal_fen": runoff.later_principal_fen,
            "inflow_30_fen": runoff.inflow_30_fen,
            "due_30_fen": runoff.due_30_fen,
            "columns": ["on", "principal_fen", "interest_fen", "out_fen", "net_fen", "balance_fen"],
            "months": [_row(month) for month in runoff.months],
            "days": [_row(day) for day in runoff.days],
        },
    }


def _row(day: CashDay) -> list[str | int | None]:
    return [
        day.on.isoformat(),
        day.principal_fen,
        day.interest_fen,
        day.out_fen,
        day.net_fen,
        day.balance_fen,
    ]


@contextmanager
def _as_exit() -> Iterator[None]:
    try:
        yield
    except (DocumentInvalid, NoEvening, ProtectionError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    except (psycopg.Error, EtcdUnavailable, NoGrant, OSError) as error:
        click.echo(f"a cell does not answer ({type(error).__name__}): run it again", err=True)
        sys.exit(3)


@click.command("stress")
@click.option("--scenario", "names", multiple=True, help="File or id of a shipped one; default: all shipped.")
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Evening; default: the newest of all cells."
)
@click.option(
    "--finance", type=_FILE, help="YAML of finance: cash, capital, funding by the day it falls due."
)
@click.option("--html", type=_FILE, help="Write the report with plots there.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write stress.html and stress.json."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a scenario file and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def stress_command(
    names: tuple[str, ...], day: dt.datetime | None, finance: Path | None, *, html: Path | None,
    out: Path | None, schema: bool, as_json: bool,
) -> None:  # fmt: skip
    """Shock defaults, prepayment and funding, and show provisions, ratios and cash under run-off.

    \b
    All that are shipped:   biyi risk stress
    One, with a report:     biyi risk stress --scenario severe-downturn --html stress.html
    With capital and cash:  biyi risk stress --finance finance.yaml
    A scenario of yours:    biyi risk stress --schema > scenario.json; biyi risk stress --scenario mine.yaml

    \b
    finance.yaml:  as_of: 2026-11-30
                   stated_by: 李会计
                   document: trial balance of 2026-11-30
                   cash_fen: 500000000
                   tier1_capital_fen: 900000000
                   funding: [{on: 2026-12-20, fen: 300000000}]

    Reads one evening that all cells have closed, in a read-only snapshot of each; the same evening gives the
    same figures. What finance did not state stays unknown. Without a shock the provisions are those of the
    books. Exit 1 when a ratio breaks its bound under a scenario, 3 when a cell does not answer.
    """
    if schema:
        click.echo(json.dumps(make_schema(), ensure_ascii=False, indent=2))
        return
    with _as_exit():
        stated = read_finance(finance) if finance else None
        scenarios = [find_scenario(name) for name in names] or [*read_shipped()]
        portfolio = asyncio.run(_read(day.date() if day else None))
        tested = run_all(portfolio, scenarios, stated)
        plain = as_plain(portfolio, tested, stated)
        _write(plain, portfolio, tested, html, out)
    if as_json:
        click.echo(json.dumps(plain, ensure_ascii=False))
    else:
        _show(portfolio, tested)
    sys.exit(1 if any(one.breached for one in tested[1:]) else 0)


async def _read(day: dt.date | None) -> Portfolio:
    settings = next(iter(site_settings().values()))
    cells = tuple(str(cell.name) for cell in settings.cells)

    def connect(cell: str) -> Any:
        return connect_report(settings, cell)

    with Console(stderr=True).status("reading the evening of every cell"):
        return await read_portfolio(connect, cells, day or await find_evening(connect, cells))


def _write(
    plain: dict[str, Any], portfolio: Portfolio, tested: Sequence[Tested], html: Path | None, out: Path | None
) -> None:
    from runbooks.stress_report import render_report  # matplotlib: loaded only for a report

    files = [html] if html else []
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "stress.json").write_text(
            json.dumps(plain, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
        files.append(out / "stress.html")
    for file in files:
        file.write_text(render_report(portfolio, tested), encoding="utf-8")
        click.echo(f"report: {file}", err=True)


def yuan(fen: int | None) -> str:
    """Return fen as yuan for people, "-" when it is not known."""
    return "-" if fen is None else f"{fen / 100:,.2f}"


def _show(portfolio: Portfolio, tested: Sequence[Tested]) -> None:
    table = Table(title=f"{portfolio.day}, 元 yuan")
    for name in (
        "情景 scenario",
        "拨备 provisions",
        "冲减资本 off capital",
        "最低净现金 lowest cash",
        "于 on",
    ):
        table.add_column(
            name, no_wrap=name != "情景 scenario", justify="left" if name[0] in "情于" else "right"
        )
    for one in tested:
        lowest = one.outcome.runoff.lowest
        name = f"{one.scenario.name.zh} {one.scenario.name.en}"
        made = yuan(one.outcome.provision_fen), yuan(one.outcome.loss_fen)
        table.add_row(name, *made, yuan(lowest.net_fen), str(lowest.on))
    Console(width=max(100, Console().width)).print(table)
    books = _broken(tested[0])
    click.echo(f"without a shock already beyond their bounds: {', '.join(books) or 'none'}")
    for one in tested[1:]:
        more = [name for name in _broken(one) if name not in books]
        short = one.outcome.runoff.first_short
        cash = f"; short of cash from {short.on}" if short else ""
        click.echo(f"{one.scenario.id}: breaks {', '.join(more) or 'nothing more'}{cash}")
    unknown = sorted(
        {s.indicator.id for o in tested for s in o.outcome.standings if s.state is State.UNKNOWN}
    )
    if unknown:
        click.echo(f"unknown until finance states what they need (--finance): {', '.join(unknown)}")


def _broken(one: Tested) -> list[str]:
    return [s.indicator.id for s in one.outcome.standings if s.state is State.BREACHED]
