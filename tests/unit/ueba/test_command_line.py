"""The command line says by its exit code what became of a wish."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from runbooks.cli import main
from ueba.errors import UebaError
from ueba.sequences import Judged, read_labels, read_step

GOOD = {
    "event_id": "a1",
    "at": "2026-03-02T09:30:00+08:00",
    "staff": "e1",
    "action": "view",
    "system": "portal",
}


def run(tmp_path, *words):
    return CliRunner().invoke(main, ["ueba", *words], env={"BIYI_UEBA_HOME": str(tmp_path / "home")})


def test_a_rejected_line_is_exit_1_and_the_good_ones_are_in(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(GOOD) + "\n{}\n")
    found = run(tmp_path, "ingest", str(file), "--json")
    assert found.exit_code == 1
    counts = {"lines": 2, "taken": 1, "seen_before": 0, "rejected": 1, "days": 1, "kept": 0}
    assert json.loads(found.stdout) == counts


def test_coverage_is_red_when_a_system_is_silent(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(GOOD) + "\n")
    assert run(tmp_path, "ingest", str(file)).exit_code == 0
    red = run(tmp_path, "coverage", "--date", "2026-03-02", "--systems", "portal,hosts", "--json")
    assert (red.exit_code, json.loads(red.stdout)["silent"]) == (1, ["hosts"])
    assert run(tmp_path, "coverage", "--date", "2026-03-02", "--systems", "portal").exit_code == 0


def test_what_is_missing_is_said_with_what_to_do(tmp_path):
    found = run(tmp_path, "queue", "--date", "2026-03-02")
    assert found.exit_code == 1
    assert "biyi ueba score --date 2026-03-02" in found.stderr


TEACHING = ("ingest", "fit", "score", "queue", "explain", "review", "coverage", "evaluate", "generate")


@pytest.mark.parametrize("name", [*TEACHING, "replay", "trial", "canaries"])
def test_every_command_teaches_by_an_example(tmp_path, name):
    found = run(tmp_path, name, "--help")
    assert found.exit_code == 0
    assert f"biyi ueba {name} " in found.stdout.split("Usage:", 1)[1].split("\n", 1)[1]


def test_labels_that_cannot_be_read_are_named(tmp_path):
    judged = Judged(["a"], np.array([0]), np.array([20_500]), {})
    file = tmp_path / "labels.csv"
    file.write_text("entity,when,label\na,2026-02-16,1\n")
    with pytest.raises(UebaError, match=r"needs entity, step \(or time\), label"):
        read_labels(file, judged)
    file.write_text("entity,time,label\na,2026-02-16,1\na,2026-02-17,yes\n")
    with pytest.raises(UebaError, match=r"line 3: .*label 0 or 1"):
        read_labels(file, judged)


def test_the_first_scored_step_is_a_number_or_a_day(tmp_path):
    assert (read_step("50"), read_step("2026-02-16")) == (50, 20_500)
    file = tmp_path / "any.csv"
    file.write_text("entity,time,action\n")
    wrong = run(tmp_path, "evaluate", "--events", str(file), "--labels", str(file), "--train", "soon")
    assert wrong.exit_code == 2
    assert "a number or a day" in wrong.stderr
