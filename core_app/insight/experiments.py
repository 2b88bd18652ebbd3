"""The experiments that run, and the group of a customer in one of them."""

import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from core_app.core import LendingCore
from core_app.insight.experiment import EXPERIMENTS, Assignment, Experiment, assign, make_experiments
from core_app.yaml_documents import parse_yaml, read_text

_FILE = Path(__file__).parent / "experiments.yaml"


@cache
def read_experiments() -> Mapping[str, Experiment]:
    """Return all experiments by id, read once a process; DocumentInvalid names the field's path."""
    return make_experiments(parse_yaml(_FILE.name, read_text(_FILE), EXPERIMENTS))


def assign_customer(
    core: LendingCore, experiment_id: str, customer_id: str, day: dt.date
) -> Assignment | None:
    """Return a customer's group on a business day, None where no such experiment runs; costs no query."""
    experiment = read_experiments().get(experiment_id)
    return None if experiment is None else assign(experiment, core.vault.slot_key, customer_id, day)
