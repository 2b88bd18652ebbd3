"""The command line says by its exit code what became of a wish."""

import json

from click.testing import CliRunner

from runbooks.cli import main

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
    assert json.loads(found.stdout) == {"lines": 2, "taken": 1, "seen_before": 0, "rejected": 1, "days": 1}


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


def test_every_command_teaches(tmp_path):
    for words in ([], ["review"], ["evaluate"], ["ingest"], ["trial"]):
        found = run(tmp_path, *words, "--help")
        assert found.exit_code == 0
        assert "Usage" in found.stdout
