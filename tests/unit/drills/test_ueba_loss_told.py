"""The report of the drill ueba-loss is a page with a timeline, and judges by its own checks."""

import pytest

from replication.model import Site
from runbooks.drills.checkers import Verdict
from runbooks.drills.report import render_report
from runbooks.drills.story import tell_site_loss
from runbooks.drills.ueba_loss import tell_ueba_loss
from runbooks.drills.verdict import limit_finding, render_site_loss
from tests.unit.drills.made_drill import make_history, make_result, make_stages


@pytest.mark.parametrize("missed", [[], ["look-1"]])
def test_the_page_says_what_was_missed_and_has_the_timeline(missed: list[str]) -> None:
    history = make_history()
    result = make_result(history)
    findings = [limit_finding("idc_scored_each_look", missed, 1751)]
    plain = {
        "verdict": str(findings[0].verdict),
        "looks_recorded": 1751,
        "looks_not_shown": 3,
        "others_recorded": 190,
        "lost": {"idc": len(missed), "cloud": 0},
        "doubled": {"idc": 0, "cloud": 0},
    }
    told = tell_site_loss(history, result, render_site_loss(result, history, None), make_stages())
    report = tell_ueba_loss(told, Site.IDC, findings, plain)
    assert report.verdict is (Verdict.BROKEN if missed else Verdict.HOLDS)
    page = render_report(report)
    assert "{{" not in page
    assert "Staff behaviour and the loss of idc" in page
    assert f"missed {len(missed)} of them" in page
    assert ("look-1" in page) is bool(missed)
    assert "drill run ueba-loss --site idc" in page
    assert page.count("<tr class=step>") >= len(history.marks)
    assert "agent of a-cloud-0" in page
