"""What `biyi quarantine` makes of the reports."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from runbooks.quarantine import quarantine_command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    return tmp_path


def test_a_stand_without_reports_says_so(home: Path):
    assert "no reports" in CliRunner().invoke(quarantine_command, []).output


def test_a_report_is_listed_and_shown(home: Path):
    (home / "idc" / "quarantine").mkdir(parents=True)
    rows = [{"table": "core.entries", "transaction": 7, "row": {"n": n}} for n in (1, 2)]
    path = home / "idc" / "quarantine" / "a-idc-0-beef.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    listed = json.loads(CliRunner().invoke(quarantine_command, ["--json"]).output)
    assert listed == [
        {"report": "a-idc-0-beef", "site": "idc", "transactions": 1, "rows": 2, "tables": ["core.entries"]}
    ]
    shown = CliRunner().invoke(quarantine_command, ["a-idc-0-beef"]).output.splitlines()
    assert [json.loads(line) for line in shown] == rows


def test_a_report_that_is_not_there_is_refused(home: Path):
    assert CliRunner().invoke(quarantine_command, ["nothing"]).exit_code == 1
