"""What the business looks like: metrics as data, alert rules over them, and the tasks that those open.

Lives here: the catalogue (`metrics.yaml`), its shape and sums (`metric.py`, pure), the rules (`alerts.yaml`,
judged by `alert.py`, pure), the reading of cells (`read.py`), the tasks (`tasks.py`). May not: change
anything of a loan, or show a person: metrics are sums over many. Start reading at `metrics.yaml`.
"""
