"""Grafana's alert rules, made from the alerts of `infra/observability/rules.yaml`: one list, two places."""

import hashlib
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders import alerting
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.alerting import Query, RelativeTimeRange

RULES = Path(__file__).parent.parent / "observability/rules.yaml"
FOLDER = "biyi"
LOOK_BACK_SECONDS = 600
"""How far back a query of an alert may see. Source: Grafana's default; expressions bring their own ranges."""


def build_alerts(datasource: str) -> list[alerting.Rule]:
    """Return one builder an alert, asking the Prometheus that Grafana knows by the uid `datasource`."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [
        _rule(group["name"], rule, datasource)
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]


def _rule(group: str, rule: dict[str, Any], datasource: str) -> alerting.Rule:
    """The expressions yield a series only while something is wrong, of whatever value: a number fires."""
    asked = {"refId": "A", "expr": rule["expr"], "instant": True}
    judged = {"refId": "B", "type": "math", "expression": "is_number($A)"}
    return (
        alerting.Rule(rule["alert"])
        .uid(f"biyi-{hashlib.sha256(rule['alert'].encode()).hexdigest()[:12]}")
        .folder_uid(FOLDER)
        .rule_group(group)
        .condition("B")
        .for_val(rule.get("for", "0s"))
        .labels(rule["labels"])
        .annotations(rule["annotations"])
        .no_data_state("OK")
        .exec_err_state("Error")
        .org_id(1)
        .queries([_Built(_query("A", datasource, asked)), _Built(_query("B", "__expr__", judged))])
    )


def _query(ref_id: str, datasource: str, model: dict[str, Any]) -> Query:
    span = RelativeTimeRange(from_val=LOOK_BACK_SECONDS, to=0)
    return Query(ref_id=ref_id, datasource_uid=datasource, relative_time_range=span, model=model)  # type: ignore[arg-type]


class _Built(Builder[Query]):
    """A value that is built already, where the SDK asks for a builder."""

    def __init__(self, value: Query) -> None:
        self._value = value

    def build(self) -> Query:
        return self._value
