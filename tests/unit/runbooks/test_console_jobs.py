"""A job outlives the console that began it, and its end is told whatever happens to either."""

import datetime as dt
import json
import os
import signal
import time
from pathlib import Path

import pytest

from runbooks.console.environment import make_environment
from runbooks.console.job_pages import find_approval
from runbooks.console.jobs import Job, Jobs, JobState
from runbooks.stand.processes import MARK

AT = dt.datetime(2026, 11, 23, 4, 0, tzinfo=dt.UTC)
WORDS = ["drill", "list", "--json"]
SECRET = "s1.the-session-of-who-pressed-the-button"


def make_jobs(home: Path) -> Jobs:
    numbers = iter(range(100))
    return Jobs(home, "cloud", lambda: AT, lambda: f"{next(numbers):08x}")


def wait_until_over(jobs: Jobs, name: str) -> JobState:
    """Return the job once it is over; the time limit of the test is the judge."""
    while True:
        state = jobs.find(name)
        assert state is not None
        if state.over:
            return state
        time.sleep(0.05)


def test_a_job_is_followed_to_its_end_by_another_console(tmp_path: Path):
    job = make_jobs(tmp_path).begin(
        "plan", ["drill", "list", "--json"], "an.bo", {"BIYI_STAFF_TOKEN": SECRET}
    )
    other = make_jobs(tmp_path)
    state = wait_until_over(other, job.name)
    assert (state.state, state.exit, state.job) == ("ended", 0, job)
    assert "site-loss" in json.dumps(state.plain)
    assert [one.job for one in other.list_newest("plan")] == [job]
    assert other.list_newest("drill") == []
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in written, "a session is handed over in the environment only"


def test_a_job_whose_process_is_gone_is_lost_and_not_running(tmp_path: Path):
    jobs = make_jobs(tmp_path)
    job = jobs.begin("drill", ["drill", "list"], "an.bo", {})
    runner = json.loads((tmp_path / "console" / "jobs" / job.name / "runner.json").read_text())
    os.kill(runner["pid"], signal.SIGKILL)
    state = wait_until_over(make_jobs(tmp_path), job.name)
    assert state.state in ("lost", "ended")
    assert state.state == "lost" or state.exit is not None


@pytest.mark.parametrize(
    "name", ["..", "../x", "20261123T040000Z-0000000g", "", "20261123T040000Z-00000000/.."]
)
def test_a_job_is_found_by_its_name_only(name: str, tmp_path: Path):
    assert make_jobs(tmp_path).find(name) is None


def test_what_a_console_starts_is_not_its_sites(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(MARK, "/home|idc|console")
    made = make_environment(Path("/stand"), "cloud")
    assert MARK not in made
    assert (made["BIYI_HOME"], made["BIYI_SITE"]) == ("/stand", "cloud")


APPROVED = ("drill", "run", "x", "--approval", "ab")


def state_of(kind: str, words: tuple[str, ...], plain: object, code: int) -> JobState:
    return JobState(
        Job(
            "n",
            kind,
            words,
            "an.bo",
            "",
        ),
        "ended",
        code,
        AT,
        AT,
        (),
        plain,
    )


@pytest.mark.parametrize(
    ("words", "plain", "code", "approval"),
    [
        (("drill", "run", "x"), {"executed": False, "refused": "x", "approval": "ab"}, 1, "ab"),
        (
            ("drill", "run", "x", "--approval", "ab"),
            {"executed": False, "refused": "x", "approval": None},
            1,
            "ab",
        ),
        (("drill", "run", "x", "--approval", "ab"), {"executed": True, "verdict": "broken"}, 1, None),
        (("drill", "run", "x"), {"executed": True, "verdict": "holds"}, 0, None),
        (("drill", "run", "x"), None, 1, None),
    ],
)
def test_a_drill_that_was_not_begun_may_be_begun_with_its_approval(
    words: tuple[str, ...], plain: object, code: int, approval: str | None
):
    assert find_approval(state_of("drill", words, plain, code)) == approval
