"""Filings on a stand of its own, a site lost while they are on their way: the drill, as a person runs it."""

import json
from pathlib import Path

import pytest

from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_each_filing_is_filed_once_although_a_site_is_lost(tmp_path: Path) -> None:
    try:
        up = biyi(tmp_path, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        done = biyi(tmp_path, "drill", "run", "filing-loss", "--site", "idc", "--json")
        plain = json.loads(done.stdout)
        assert done.returncode == 0, json.dumps(plain, indent=1)
        for name in ("filings_equal_at_both_sites", "no_filing_lost", "no_filing_doubled"):
            assert plain["checks"][name] == "holds"
        assert plain["filings"] == 3
    finally:
        biyi(tmp_path, "stand", "down")
