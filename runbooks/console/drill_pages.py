"""What the drills pages show: schedule, history, runbooks, each run's report; read from the evidence."""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runbooks.drills.catalogue import DRILLS, SECTIONS, Drill, Runbook, read_runbook
from runbooks.drills.past import LAW_DAYS, OURS_DAYS, PastDrill, make_schedule, read_evidence
from runbooks.drills.runbook_zh import read_runbooks_zh
from runbooks.drills.verdict import RTO_LIMIT_S

MOST_SHOWN = 50
"""Runs in the table. Source: our choice, four years of a monthly drill."""
REPORT = "report.html"


def read_drills(evidence: Path, now: dt.datetime) -> dict[str, Any]:
    """Return the values of the drills page; `now` is aware UTC."""
    past = read_evidence(evidence)
    return {
        "schedule": make_schedule(past, now),
        "past": past[:MOST_SHOWN],
        "texts": DRILLS,
        "most": MOST_SHOWN if len(past) > MOST_SHOWN else None,
        "ours_days": OURS_DAYS,
        "law_days": LAW_DAYS,
        "points": json.dumps(find_points(past)),
    }


def find_points(past: Sequence[PastDrill]) -> dict[str, Any]:
    """Return what the chart draws: each run that lost a site and came back, oldest first, and the limit."""
    runs = [one for one in reversed(past[:MOST_SHOWN]) if one.rto_seconds is not None]
    return {
        "names": [f"{one.drill} {one.site} {one.started_at:%m-%d %H:%M}Z" for one in runs],
        "seconds": [one.rto_seconds for one in runs],
        "limit": RTO_LIMIT_S,
    }


def read_run(evidence: Path, folder: str) -> PastDrill | None:
    """Return the run that left `folder`, one of those that are there; None for any other name."""
    return next((one for one in read_evidence(evidence) if one.folder.name == folder), None)


def find_report(run: PastDrill) -> Path | None:
    """Return a run's report; None when it was not finished."""
    path = run.folder / REPORT
    return path if path.is_file() else None


def read_book(name: str) -> dict[str, Any] | None:
    """Return the values of a runbook's page; None when there is no such drill."""
    drill: Drill | None = DRILLS.get(name)
    if drill is None:
        return None
    return {"drill": drill, "books": find_books(drill), "sections": SECTIONS}


def find_books(drill: Drill) -> dict[str, Runbook]:
    """Return a drill's runbook in each language."""
    return {"en": read_runbook(drill), "zh": read_runbooks_zh()[drill.name]}
