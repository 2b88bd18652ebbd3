"""Filings on a stand of its own, a site lost while they are on their way: the drill, as a person runs it."""

import json
from pathlib import Path

import pytest

from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_each_filing_is_filed_once_although_a_site_is_lost(tmp_path: Path) -> None:
    try:
        up = biyi(tmp_path, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        done = biyi(
            tmp_path, "drill", "run", "filing-loss", "--site", "idc", "--execute", "--json", within_s=400
        )
        assert done.stdout, done.stderr
        plain = json.loads(done.stdout)
        assert done.returncode == 0, json.dumps(plain, indent=1)
        for name in ("filings_equal_at_both_sites", "no_filing_lost", "no_filing_doubled"):
            assert plain["checks"][name] == "holds"
        assert plain["filings"] == 3
        check_commands(tmp_path)
    finally:
        biyi(tmp_path, "stand", "down")


def check_commands(home: Path) -> None:
    """Filed again from the command line, the evening gives the same batches."""
    batches = json.loads(biyi(home, "report", "status", "--json").stdout)
    assert [one["state"] for one in batches] == ["accepted"] * 3
    day, ids = batches[0]["day"], sorted(one["batch_id"] for one in batches)
    again = ("--date", day, "--first", "--kind", "all", "--out", str(home / "again"), "--json")
    made = biyi(home, "report", "run", *again)
    assert made.returncode == 0, made.stdout + made.stderr
    assert sorted(one["batch_id"] for one in json.loads(made.stdout)) == ids
    assert [one["findings"] for one in json.loads(made.stdout)] == [[]] * 3
    corrected = biyi(
        home, "report", "correct", *again, "--kind", "1104", "--reason", "asked to file it again"
    )
    assert [one["batch_id"][-4:] for one in json.loads(corrected.stdout)] == ["-002"]
    assert biyi(home, "report", "submit", ids[0]).returncode == 0
    assert json.loads(biyi(home, "report", "feedback", ids[0], "--json").stdout) == []
    cells = json.loads(biyi(home, "report", "flows", "--json").stdout)
    for one in cells.values():
        listed = {odd["key"] for odd in one["exceptions"] if odd["what"] == "loan"}
        assert one["loans"] > 0
        assert one["reconciled"] + len(listed) == one["loans"]
        assert {odd["rule"].partition(":")[0] for odd in one["exceptions"]} <= {"the payout is on its way"}
