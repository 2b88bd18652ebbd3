"""The few kinds of panels that our dashboards are made of, with Grafana's own types."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The data source that the reader chose at the top of the page."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One panel: a title (Chinese / English), an expression with its legend, a unit of Grafana's.

    `now`: one figure as of now instead of a curve.
    """

    title: str
    expr: str
    legend: str = ""
    unit: str = "short"
    now: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; `uid` is what Grafana knows it by for good."""

    uid: str
    title: str
    rows: tuple[Row, ...]


def build_board(board: Board) -> dashboard.Dashboard:
    """Return the builder of a dashboard."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["biyi"])
        .timezone("Asia/Shanghai")
        .refresh("10s")
        .time("now-1h", "now")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title))
        for shown in row.panels:
            made = made.with_panel(_figure(shown) if shown.now else _curve(shown))
    return made


def _query(shown: Shown) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(shown.expr).ref_id("A").legend_format(shown.legend).datasource(SOURCE)
    return query.instant() if shown.now else query.range()


def _curve(shown: Shown) -> timeseries.Panel:
    panel = timeseries.Panel().title(shown.title).unit(shown.unit).datasource(SOURCE)
    return panel.height(7).span(8).with_target(_query(shown))


def _figure(shown: Shown) -> stat.Panel:
    panel = stat.Panel().title(shown.title).unit(shown.unit).datasource(SOURCE)
    return panel.height(4).span(4).with_target(_query(shown))
