"""Rules and dashboards ask only for figures that our processes tell, in Prometheus' own grammar."""

import datetime as dt
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest

from core_app.api.app import make_app
from core_app.api.metrics import ApiMetrics
from core_app.core import LendingCore
from core_app.day_end.watch import DayWatch
from core_app.directory import deal
from core_app.moving.watch import move_figures
from core_app.notary import notary_figures
from core_app.payer import payer_figures
from core_app.projector import cache_figures
from core_app.settings import ApiSettings
from infra.dashboards.__main__ import render
from infra.dashboards.boards import BOARDS, ROUTES
from infra.dashboards.panels import build_board
from replication.metrics import agent_figures
from replication.platform.figures import Figures
from tests.unit.infra.stage import build, example
from tests.unit.replication.test_agent_metrics import snapshot

RULES = Path(__file__).parent.parent.parent.parent / "infra/observability/rules.yaml"
FROM_OUTSIDE = {"up", "process_start_time_seconds", "process_open_fds"}
"""Prometheus' own, and those of every Python process."""


class Nobody:
    """A payer, or a notary, that has done nothing yet."""

    breakers: dict[str, Any] = {}  # noqa: RUF012
    written: dict[str, int] = {}  # noqa: RUF012
    sealed = 0
    lost: dict[str, int] = {}  # noqa: RUF012
    newest = None


@pytest.fixture(scope="module")
def told() -> set[str]:
    """Every name of a figure of ours, as Prometheus stores it."""
    nobody: Any = Nobody()
    gauges = [
        *agent_figures(snapshot()),
        *cache_figures({}, 0.0),
        *payer_figures({"payout": nobody, "debit": nobody}),
        *DayWatch(nobody, lambda: dt.datetime(2026, 5, 3, tzinfo=dt.UTC)).figures(),
        *move_figures(deal(("a", "b")), dt.datetime(2026, 5, 3, tzinfo=dt.UTC)),
    ]
    gauges += notary_figures(nobody)
    gauges += Figures(cluster_up=True).metrics()
    names = {family.name + ("_total" if family.type == "counter" else "") for family in gauges}
    api = ApiMetrics()
    api.note({"method": "GET"}, 200, 0.1)
    names |= set(re.findall(r"^(biyi_\w+)\{", generate_latest(api.registry).decode(), re.MULTILINE))
    return names | FROM_OUTSIDE


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def names_in(expression: str) -> set[str]:
    """The names of figures an expression asks for; it must be of Prometheus' grammar."""
    shown = promql_parser.parse(expression).prettify()
    without = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", shown)
    without = re.sub(r"\b(by|without|on|ignoring) \([^)]*\)", "", without)
    return {
        word
        for word in re.findall(r"[a-z_][\w:]*", without)
        if word.startswith("biyi_") or ":" in word or word in FROM_OUTSIDE
    }


def boards() -> list[dict[str, Any]]:
    return [json.loads(JSONEncoder().encode(build_board(board).build())) for board in BOARDS]


def test_names_are_found_in_an_expression() -> None:
    found = names_in(
        'sum by (site) (rate(biyi_api_requests_total{status=~"5.."}[5m])) / on (site) site:x:y > 64'
    )
    assert found == {"biyi_api_requests_total", "site:x:y"}
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        names_in("sum(")


def test_rules_ask_for_what_is_told(told: set[str]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        asked = names_in(rule["expr"])
        assert asked
        assert asked <= told | recorded, rule
    assert len({rule["alert"] for rule in rules() if "alert" in rule}) == 22


def test_what_the_autoscaler_asks_for_is_told_to_the_api_server(told: set[str], tmp_path: Path) -> None:
    hpa = build("workloads-idc", example(), tmp_path).named("HorizontalPodAutoscaler", "api")["spec"]
    adapter = yaml.safe_load(RULES.with_name("adapter.yaml").read_text())
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for source, key in (("pods", "rules"), ("external", "externalRules")):
        asked = {one[source]["metric"]["name"] for one in hpa["metrics"] if source in one}
        assert asked
        assert asked == {one["name"]["as"] for one in adapter[key]}
        for one in adapter[key]:
            assert names_in(one["seriesQuery"]) <= told | recorded
            query = one["metricsQuery"].replace("<<.Series>>", one["name"]["as"])
            query = query.replace("<<.LabelMatchers>>", 'pod="x"').replace("<<.GroupBy>>", "pod")
            assert names_in(query) == {one["name"]["as"]}


def test_every_alert_says_in_both_languages_what_and_what_first() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert re.search("[\u4e00-\u9fff]", rule["annotations"]["summary"])
            assert rule["annotations"]["first"]


def test_every_alert_has_a_test() -> None:
    cases = yaml.safe_load(RULES.with_name("rules.test.yaml").read_text())["tests"]
    fired = {a["alertname"] for case in cases for a in case["alert_rule_test"] if a["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="NO PROMTOOL: rules are parsed, not run (make test-rules)"
)
def test_the_rules_fire_when_they_should() -> None:
    test = str(RULES.with_name("rules.test.yaml"))
    done = subprocess.run(["promtool", "test", "rules", test], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_ask_for_what_is_told_and_are_grafanas(told: set[str]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for board in boards():
        assert Dashboard.from_json(board).uid == board["uid"]
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert len({panel["title"] for panel in panels}) > 9
        for panel in panels:
            (target,) = panel["targets"]
            asked = names_in(target["expr"])
            assert asked
            assert asked <= told | recorded, panel["title"]
            assert target["datasource"]["uid"] == "${datasource}"
    lending = next(board for board in boards() if board["uid"] == "biyi-lending")
    assert len([panel for panel in lending["panels"] if panel["type"] != "row"]) >= 20


def test_the_lending_board_shows_routes_that_exist() -> None:
    app = make_app(LendingCore.__new__(LendingCore), ApiSettings())
    paths = set(app.state.document["paths"])
    assert set(ROUTES) <= paths, sorted(paths)


def test_alerts_of_grafana_are_those_of_prometheus() -> None:
    document = json.loads(render("prom-1"))
    assert {rule["title"] for rule in document["alerts"]} == {
        rule["alert"] for rule in rules() if "alert" in rule
    }
    assert len({rule["uid"] for rule in document["alerts"]}) == len(document["alerts"])
    assert {rule["data"][0]["datasourceUid"] for rule in document["alerts"]} == {"prom-1"}
