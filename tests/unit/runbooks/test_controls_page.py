"""The Level-3 report as a page: everything of a run is in it, and nothing that was read can become markup."""

import datetime as dt
import re
from typing import Any

from compliance.controls.catalogue import read_catalogue
from compliance.controls.judge import Seen, State, judge
from compliance.controls.pack import Run
from compliance.controls.readings import Reading, make_reading
from compliance.controls.score import compute_score
from runbooks.controls.page import render_page

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
CATALOGUE = read_catalogue()
HISTORY: list[dict[str, Any]] = [
    {"number": 6, "run_at": "2026-11-21T00:00:00", "met": 41, "not_met": 2, "unknown": 214,
     "met_percent": 15.95, "points_2021": 3.5, "pack_sm3": "ab" * 32},
]  # fmt: skip


def make_page(form: str, *readings: Reading) -> tuple[Run, str]:
    seen = Seen(("idc", "cloud"), NOW, readings, [])
    outcomes = judge(CATALOGUE, seen)
    run = Run(7, "cd" * 32, form, seen, outcomes, compute_score(CATALOGUE, outcomes))
    return run, render_page(run, CATALOGUE, "ef" * 32, HISTORY)


def section(page: str, title: str) -> list[str]:
    """Return the first cells of the rows of one table."""
    table = page.split(title)[1].split("</table>")[0]
    return re.findall(r"<tr><td>(.*?)</td>", table)


def test_every_item_trigger_gap_and_earlier_run_is_on_the_page() -> None:
    run, page = make_page("stand")
    assert section(page, "Every item") == list(CATALOGUE.items)
    assert section(page, "Serious-risk triggers") == [one.id for one in CATALOGUE.triggers]
    assert section(page, "Gaps, by what they cost") == [gap.item for gap in run.score.gaps]
    assert section(page, "History") == ["6"]
    for told in (
        "not an assessment",
        "不是等级测评结论",
        "ef" * 32,
        "0.00 %",
        str(run.score.conclusion_2025),
    ):
        assert told in page


def test_what_a_stand_cannot_meet_is_said_of_a_stand_only() -> None:
    title = "What a stand cannot meet"
    assert section(make_page("stand")[1], title) == list(CATALOGUE.stand_notes)
    assert section(make_page("cluster")[1], title) == []


def test_what_was_read_is_shown_as_text() -> None:
    hostile = make_reading("ports", "idc", NOW, {"listening": 1, "unlisted": ["<script>alert(1)</script>"]})
    run, page = make_page("stand", hostile)
    assert run.outcomes["8.1.4.4.b"].state is State.NOT_MET
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert section(page, "Readings") == [hostile.sm3[:12]]
