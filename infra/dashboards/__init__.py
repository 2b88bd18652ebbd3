"""Grafana's dashboards and alerts as values: `python -m infra.dashboards` prints them as one JSON document.

`boards.py` says what is shown; alerts are those of `infra/observability/rules.yaml`: one list of them.
Bringing them into a Grafana is `biyi dashboards`.
"""
