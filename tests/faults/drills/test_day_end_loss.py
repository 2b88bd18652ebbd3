"""Day-end on a stand of its own, a site lost in the middle of it: the drill, as a person would run it."""

import json
from pathlib import Path

import pytest

from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("site", ["idc", "cloud"])
def test_day_end_ends_at_the_other_site_with_the_rows_of_an_undisturbed_run(
    site: str, tmp_path: Path
) -> None:
    try:
        up = biyi(tmp_path, "stand", "up")
        assert up.returncode == 0, up.stderr
        done = biyi(tmp_path, "drill", "run", "day-end-loss", "--site", site, "--execute", "--json")
        assert done.stdout, done.stderr
        plain = json.loads(done.stdout)
        assert done.returncode == 0, json.dumps(plain, indent=1)
        assert plain["checks"]["day_end_rows_equal_undisturbed"] == "holds"
        assert (plain["lost"], plain["trial_balance_fen"]) == (0, 0)
        status = json.loads(biyi(tmp_path, "day-end", "status", "--json").stdout)
        assert [step["chunks"] for cell in status for step in cell["steps"].values()] == [128] * 4
        refused = biyi(tmp_path, "day-end", "run")
        assert (refused.returncode, "needs --ahead" in refused.stdout.replace("\n", " ")) == (1, True)
    finally:
        biyi(tmp_path, "stand", "down")
