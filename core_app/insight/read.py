"""Read the catalogue and the rules, ask every cell, and judge."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from core_app.core import Connection, LendingCore
from core_app.insight.alert import ALERTS, Alert, Fired, check_alerts, judge_alert
from core_app.insight.metric import CATALOGUE, Cube, Measured, Metric, add_up, make_catalogue, read_row
from core_app.marketing.channels import show_prices
from core_app.marketing.read import read_channel_prices
from core_app.router_line import ALLOW_A_MINUTE
from core_app.rules.read import read_rulebook
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent
INCLUSIVE = "inclusive.borrower_most"


@cache
def read_metrics(folder: Path = FOLDER) -> Mapping[str, Metric]:
    """Return the catalogue by id, read once a process; DocumentInvalid when a row is bad."""
    metrics = parse_yaml("metrics.yaml", read_text(folder / "metrics.yaml"), CATALOGUE)
    return make_catalogue(metrics)


@cache
def read_alerts(folder: Path = FOLDER) -> tuple[Alert, ...]:
    """Return the rules, read once a process; DocumentInvalid when one is bad or names no metric."""
    alerts = parse_yaml("alerts.yaml", read_text(folder / "alerts.yaml"), ALERTS)
    check_alerts(alerts, read_metrics(folder))
    return alerts


def find_parameters(day: dt.date) -> dict[str, Any]:
    """Return what the catalogue's SQL may name: the day, and the dated rows of documents that hold on it."""
    found = (row.value for row in read_rulebook().rows if row.key == INCLUSIVE and row.holds_on(day))
    prices = show_prices(read_channel_prices(), day)
    return {"day": day, "channel_prices": Jsonb(prices), "inclusive_most_fen": next(found, None)}


async def measure(core: LendingCore, metrics: Sequence[Metric], day: dt.date) -> tuple[Measured, ...]:
    """Return metrics on a business day over all cells; CellUnavailable when one cannot be asked.

    Each cell is asked for all of them in one read-only transaction, so that its figures fit together.
    """

    parameters = find_parameters(day)

    async def ask(cell: str) -> list[Cube]:
        async def work(connection: Connection, _: int) -> list[Cube]:
            await connection.execute(ALLOW_A_MINUTE)
            cursors = [await connection.execute(one.sql.encode(), parameters) for one in metrics]
            return [
                dict(read_row(metric, row) for row in await cursor.fetchall())
                for metric, cursor in zip(metrics, cursors, strict=True)
            ]

        return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value

    cells = await asyncio.gather(*map(ask, core.router.cells))
    return tuple(
        Measured(metric, day, add_up(metric, [cubes[place] for cubes in cells]))
        for place, metric in enumerate(metrics)
    )


async def find_fired(core: LendingCore, day: dt.date, alerts: Sequence[Alert] | None = None) -> list[Fired]:
    """Return every rule that fires on a business day, by the days of its window up to it."""
    rules = read_alerts() if alerts is None else alerts
    longest = max((rule.window.days for rule in rules), default=0)
    metrics = [read_metrics()[name] for name in sorted({rule.metric for rule in rules})]
    series: dict[str, list[Measured]] = {metric.id: [] for metric in metrics}
    for back in reversed(range(longest)):
        for one in await measure(core, metrics, day - dt.timedelta(days=back)):
            series[one.metric.id].append(one)
    return [fired for rule in rules for fired in judge_alert(rule, series[rule.metric][-rule.window.days :])]
