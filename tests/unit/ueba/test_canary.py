"""Canaries are caught by the real path, leave nothing in the home, and go uncaught where detection is off."""

import dataclasses
import datetime as dt

import pytest

from ueba import canary
from ueba.canary import KINDS, PREFIX, run_canaries
from ueba.daily import Wanted, keep, read_scores, score_home
from ueba.generator.write import Plan, write_organisation
from ueba.settings import Baseline, QueueSettings, ScoreSettings, Settings
from ueba.store import Home

pytestmark = pytest.mark.xdist_group("ueba_scoring")
SMALL = Settings(
    baseline=Baseline(window=20, gap=3),
    score=ScoreSettings(fit_days=15, least_rows=60, least_periods=5, trees=20, seeds=(11,)),
    queue=QueueSettings(budget_share=0.05),
)
QUIET = lambda _: None  # noqa: E731


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("canary"))
    list(write_organisation(home, Plan(staff=80, days=40, cases=0, first=39, seed=4)))
    day = max(one for one in home.days() if one.weekday() < 5)
    keep(home, score_home(home, Wanted(day, day - dt.timedelta(days=7)), SMALL, QUIET))
    return home, day


def test_each_canary_would_have_been_looked_at_and_nothing_of_it_stays(scored):
    home, day = scored
    before = {file: file.read_bytes() for file in home.root.rglob("*.parquet")}
    found = run_canaries(home, day, 1, SMALL, QUIET)
    assert {one["kind"]: one["caught"] for one in found["canaries"]} == dict.fromkeys(KINDS, True), found
    assert {file: file.read_bytes() for file in home.root.rglob("*.parquet")} == before
    assert not [row for row in read_scores(home, day)[0]["staff"].to_pylist() if row.startswith(PREFIX)]


def test_a_double_that_does_nothing_is_as_ordinary_as_its_donor(scored, monkeypatch):
    """But for the silenced account, which must not do anything at all."""
    home, day = scored
    monkeypatch.setattr(canary, "KINDS", dict.fromkeys(KINDS, lambda *_: []))
    narrow = dataclasses.replace(SMALL, queue=QueueSettings(budget_share=0.02))
    found = run_canaries(home, day, 1, narrow, QUIET)
    caught = {one["kind"]: one["caught"] for one in found["canaries"]}
    assert caught.pop("dormant_account")
    assert sum(caught.values()) <= 1, found
