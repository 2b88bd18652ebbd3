"""`biyi metrics`: the catalogue, figures of a day over all cells, alert rules and the tasks they open."""

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from compliance.protection.vault import open_vault
from core_app.business_calendar import business_date_at
from core_app.core import LendingCore
from core_app.day_end.service import read_status
from core_app.ids import is_customer_id
from core_app.insight.alert import Fired
from core_app.insight.experiment import PARTS, assign
from core_app.insight.experiments import read_experiments
from core_app.insight.metric import Measured, Metric, value_of
from core_app.insight.read import find_fired, measure, read_alerts, read_metrics
from core_app.insight.tasks import close_task, list_tasks, open_tasks
from runbooks.cells import site_settings, utc_now
from runbooks.funder import run
from runbooks.lending_core import open_core

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_DAY = click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Business day.  [default: the newest that every cell has closed]",
)


@click.group("metrics")
def metrics_group() -> None:
    """Figures of the business by catalogue, and alert rules over them.

    \b
    biyi metrics list                           every metric with unit, dimensions and owner
    biyi metrics show overdue_share             one metric with its SQL and the rules over it
    biyi metrics run --day 2026-11-20           figures of that day, all cells together
    biyi metrics run overdue_share --json
    biyi metrics check --open                   judge the rules; open a task for each that fires anew
    biyi metrics experiments                    each experiment's groups and shares
    biyi metrics tasks; biyi metrics close 3 --staff li.wei --note "one branch, visited"
    """


@metrics_group.command("list")
@_AS_JSON
def list_command(as_json: bool) -> None:
    """List the catalogue."""
    found = list(read_metrics().values())
    if as_json:
        click.echo(json.dumps({"metrics": [_plain(one) for one in found]}, ensure_ascii=False))
        return
    table = Table("metric", "name", "unit", "dimensions", "owner")
    for one in found:
        table.add_row(
            one.id, f"{one.name.zh} {one.name.en}", one.unit, ", ".join(one.dimensions) or "-", one.owner
        )
    Console().print(table)


@metrics_group.command("show")
@click.argument("metric_id", metavar="METRIC")
@_AS_JSON
def show_command(metric_id: str, as_json: bool) -> None:
    """Show one metric with its SQL and the alert rules over it."""
    metric = _find(metric_id)
    rules = [one.model_dump(mode="json") for one in read_alerts() if one.metric == metric_id]
    if as_json:
        click.echo(json.dumps(_plain(metric) | {"sql": metric.sql, "alerts": rules}, ensure_ascii=False))
        return
    click.echo(f"{metric.id}: {metric.name.zh} {metric.name.en}\nowner: {metric.owner}, unit: {metric.unit}")
    click.echo(f"dimensions: {', '.join(metric.dimensions) or '-'}\n\n{metric.sql}")
    for rule in rules:
        click.echo(f"\nalert {rule['id']}: {rule['operator']} {rule['threshold']}, {rule['action']}")


@metrics_group.command("run")
@click.argument("metric_ids", nargs=-1, metavar="[METRIC]...")
@_DAY
@_AS_JSON
def run_command(metric_ids: tuple[str, ...], day: dt.datetime | None, as_json: bool) -> None:
    """Show metrics (all, when none is named) on a business day over all cells. Exit 3 without a cell."""
    wanted = [_find(one) for one in metric_ids] or list(read_metrics().values())
    rows = run(_measure(wanted, day))
    if as_json:
        click.echo(json.dumps({"metrics": rows}, ensure_ascii=False))
        return
    table = Table("metric", "dimensions", "value", "unit")
    for row in rows:
        for place in row["rows"] or [{"dimensions": {}, "value": None}]:
            named = ", ".join(f"{name} {value}" for name, value in place["dimensions"].items())
            table.add_row(row["id"], named or "all", place["value"] or "-", row["unit"])
    Console().print(table)


async def _measure(wanted: list[Metric], day: dt.datetime | None) -> list[dict[str, Any]]:
    async with open_core() as core:
        return [show_measured(one) for one in await measure(core, wanted, await _evening(core, day))]


@metrics_group.command("check")
@_DAY
@click.option("--open", "opens", is_flag=True, help="Open a task for each rule that fires and has none open.")
@_AS_JSON
def check_command(day: dt.datetime | None, opens: bool, as_json: bool) -> None:
    """Judge every alert rule on a business day. Exit 1 when one fires, 3 when a cell does not answer."""
    fired, opened = run(_check(day, opens))
    rows = [show_fired(one) for one in fired]
    if as_json:
        click.echo(json.dumps({"fired": rows, "opened": opened}, ensure_ascii=False))
    else:
        table = Table("alert", "dimensions", "value", "threshold", "action", "owner")
        for row in rows:
            named = ", ".join(f"{name} {value}" for name, value in row["dimensions"].items())
            bound = f"{row['operator']} {row['threshold']}"
            table.add_row(row["alert"], named or "all", row["value"], bound, row["action"], row["owner"])
        Console().print(table)
        click.echo(f"{len(rows)} fired, {opened} tasks opened")
    sys.exit(1 if rows else 0)


async def _check(day: dt.datetime | None, opens: bool) -> tuple[list[Fired], int]:
    async with open_core() as core:
        fired = await find_fired(core, await _evening(core, day))
        return fired, await open_tasks(core, fired) if opens else 0


@metrics_group.command("experiments")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Business day.  [default: today]")
@click.option("--customer", help="Id of a customer: in which group they are.")
@_AS_JSON
def experiments_command(day: dt.datetime | None, customer: str | None, as_json: bool) -> None:
    """Show each experiment: its question, its days, the share of each group, the group of a customer."""
    if customer is not None and not is_customer_id(customer):
        raise click.UsageError(f"--customer {customer}: needs a customer id, C and 24 hex digits")
    on = day.date() if day else business_date_at(utc_now())
    key = open_vault(next(iter(site_settings().values())).key_file).slot_key if customer else b""
    table = Table(
        Column("experiment", overflow="fold"), "question", "days", f"shares on {on}", "group"
    )  # fmt: skip
    rows = []
    for one in read_experiments().values():
        shares = {group: f"{parts / PARTS:.2%}" for group, parts in one.parts_on(on).items()}
        found = assign(one, key, customer, on) if customer else None
        group = found.group if found else None
        days = {"from": one.first_day.isoformat(), "to": one.last_day.isoformat()}
        about = {"experiment": one.id, "question": one.question.model_dump()}
        rows.append(about | days | {"shares": shares, "group": group})
        shown = ", ".join(f"{name} {share}" for name, share in shares.items()) or "does not run"
        question = f"{one.question.zh} {one.question.en}"
        table.add_row(one.id, question, f"{one.first_day} to {one.last_day}", shown, group or "-")
    if as_json:
        click.echo(json.dumps({"on": on.isoformat(), "experiments": rows}, ensure_ascii=False))
    else:
        Console().print(table)


@metrics_group.command("tasks")
@click.option("--all", "closed_too", is_flag=True, help="Closed ones too.")
@_AS_JSON
def tasks_command(closed_too: bool, as_json: bool) -> None:
    """List the tasks that alert rules opened."""
    rows = run(_tasks(closed_too))
    if as_json:
        click.echo(json.dumps({"tasks": rows}, ensure_ascii=False))
        return
    table = Table("task", "alert", "dimensions", "value", "threshold", "day", "action", "owner", "closed by")
    for row in rows:
        names = ("task_id", "alert", "dimensions", "value", "threshold", "on_date", "action", "owner")
        table.add_row(*(str(row[name]) for name in names), row["closed_by"] or "-")
    Console().print(table)


async def _tasks(closed_too: bool) -> list[dict[str, Any]]:
    async with open_core() as core:
        return await list_tasks(core, closed_too=closed_too)


@metrics_group.command("close")
@click.argument("task_id", type=int)
@click.option("--staff", required=True, help="Who closes it.")
@click.option("--note", required=True, help="What was found, without personal data.")
def close_command(task_id: int, staff: str, note: str) -> None:
    """Close a task; its rule may open another from then on. Exit 1 when there is no such open task."""
    closed = run(_close(task_id, staff, note))
    click.echo(f"task {task_id} {'closed' if closed else 'is not open'}")
    sys.exit(0 if closed else 1)


async def _close(task_id: int, staff: str, note: str) -> bool:
    async with open_core() as core:
        return await close_task(core, task_id, staff, note)


def _find(metric_id: str) -> Metric:
    metric = read_metrics().get(metric_id)
    if metric is None:
        known = ", ".join(sorted(read_metrics()))
        raise click.BadParameter(f"there is no metric {metric_id}; needs one of {known}")
    return metric


async def _evening(core: LendingCore, day: dt.datetime | None) -> dt.date:
    """Return the day asked for, else the last one before every cell's business date."""
    if day is not None:
        return day.date()
    cells = await asyncio.gather(*(read_status(core, cell) for cell in core.router.cells))
    return find_evening([one["business_date"] for one in cells], core.read_today())


def find_evening(business_dates: Sequence[str | None], today: dt.date) -> dt.date:
    """Return the newest day that is over in every cell; one without a date follows the calendar.

    >>> find_evening(["2026-11-24", "2026-11-22", None], dt.date(2026, 11, 23))
    datetime.date(2026, 11, 21)
    """
    dates = [today if one is None else dt.date.fromisoformat(one) for one in business_dates]
    return min(dates) - dt.timedelta(days=1)


def _plain(metric: Metric) -> dict[str, Any]:
    return metric.model_dump(mode="json", exclude={"sql"})


def show_measured(one: Measured) -> dict[str, Any]:
    """Return a measured metric as JSON has it: `total`, a row for each of its dimensions, its rules."""
    names = one.metric.dimensions
    rows = [
        {
            "dimensions": dict(zip(names, place, strict=True)),
            "value": _text(one.metric, value_of(sums, one.metric)),
        }
        for place, sums in sorted(one.cube.items())
    ]
    total = _text(one.metric, one.value())
    alerts = [rule.model_dump(mode="json") for rule in read_alerts() if rule.metric == one.metric.id]
    return _plain(one.metric) | {"on": one.on.isoformat(), "total": total, "rows": rows, "alerts": alerts}


def _text(metric: Metric, value: Any) -> str | None:
    """Return a value as text: whole fen and counts of sums, else four digits after the point."""
    if value is None:
        return None
    return str(value) if metric.kind == "sum" else f"{float(value):.4f}"


def show_fired(one: Fired) -> dict[str, Any]:
    """Return a rule that fired as JSON has it."""
    alert = one.alert
    return {
        "alert": alert.id,
        "name": alert.name.model_dump(),
        "metric": alert.metric,
        "dimensions": dict(zip(alert.per, one.dimensions, strict=True)) | dict(alert.where),
        "operator": alert.operator,
        "threshold": str(alert.threshold),
        "value": f"{float(one.value):.4f}",
        "on": one.on.isoformat(),
        "action": alert.action,
        "owner": alert.owner,
    }
