"""The report is one page that needs nothing else, in both themes, and hides nothing."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.report import render_report
from runbooks.drills.story import find_site_loss_marks, tell_site_loss
from runbooks.drills.tables import print_site_loss
from runbooks.drills.verdict import SiteLossResult, render_site_loss
from runbooks.drills.wording import MEANINGS
from runbooks.evidence import keep_journals
from tests.unit.drills.made_drill import make_history, make_result, make_stages


def page(result: SiteLossResult | None = None) -> str:
    history = make_history()
    result = result or make_result(history)
    plain = render_site_loss(result, history, 0)
    return render_report(tell_site_loss(history, result, plain, make_stages()))


@pytest.fixture(scope="module")
def good_page() -> str:
    return page()


def test_needs_nothing_from_outside(good_page: str) -> None:
    assert not re.search(r"<link|<script|<img|@import|url\((?!#)|src=", good_page)


def test_every_part_of_the_page_is_filled_in(good_page: str) -> None:
    assert "{{" not in good_page


def test_drawings_follow_the_theme(good_page: str) -> None:
    assert "prefers-color-scheme: dark" in good_page
    assert good_page.count("var(--idc)") > 10
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", good_page)


def test_the_marks_are_those_the_runbook_promises() -> None:
    history = make_history()
    labels = [mark.label for mark in find_site_loss_marks(history, make_result(history), make_stages())]
    assert labels == [
        "kill idc", "grant a", "promote a", "first write a", "restart", "rejoin", "fail-back",
    ]  # fmt: skip


def test_a_broken_check_shows_its_examples_escaped() -> None:
    finding = Finding("trial_balance", Verdict.BROKEN, 1, 9, ("a: <b>5</b> fen",))
    text = page(
        replace(make_result(make_history()), findings=(finding, *make_result(make_history()).findings))
    )
    assert "a: &lt;b&gt;5&lt;/b&gt; fen" in text
    top = text[: text.index('<div class="tiles">')]
    assert "Debits equal credits in each cell: a: &lt;b&gt;5&lt;/b&gt; fen" in top
    assert MEANINGS["trial_balance"][1] in top
    assert "BROKEN" in top


def test_every_check_has_words_in_both_languages() -> None:
    names = {finding.name for finding in make_result(make_history()).findings}
    assert names <= MEANINGS.keys()


def test_the_table_says_what_was_killed_and_how_long_customers_waited() -> None:
    history = make_history()
    result = make_result(history)
    screen = io.StringIO()
    plain = render_site_loss(result, history, 0) | {"evidence": "evidence"}
    print_site_loss(Console(file=screen, width=120), result, plain)
    text = screen.getvalue()
    assert "Every process of site idc was killed" in text
    assert "was killed" in text
    assert "holds" in text


def test_journals_are_cut_to_the_drill_and_deeds_found(tmp_path: Path) -> None:
    journal = tmp_path / "idc" / "journal"
    journal.mkdir(parents=True)
    lines = [
        '{"mono_ns": 1, "stage": "opened", "cell": "a", "place": "a-idc-0", "epoch": 1}',
        '{"mono_ns": 60000000000, "stage": "promoted", "cell": "a", "place": "p", "epoch": 2, "timeline": 3}',
        '{"mono_ns": 60500000000, "decision": "HOLD", "cell": "a", "place": "a-idc-0", "epoch": 2}',
        '{"mono_ns": 61000000000, "sta',
    ]
    (journal / "a-idc-0.jsonl").write_text("\n".join(lines))
    folder = tmp_path / "evidence"
    folder.mkdir()
    (mark,) = keep_journals(folder, tmp_path, 59_000_000_000, 70_000_000_000)
    assert (mark.stage, mark.epoch, mark.detail) == ("promoted", 2, "timeline 3")
    assert len((folder / "journals" / "idc-a-idc-0.jsonl").read_text().splitlines()) == 2
