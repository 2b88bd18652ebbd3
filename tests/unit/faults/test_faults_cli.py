"""`biyi faults list` and what `biyi faults run` refuses before anything is touched."""

import json
from pathlib import Path

from click.testing import CliRunner

from runbooks.cli import main
from runbooks.faults.catalogue import INJECTORS


def test_list_shows_every_injector() -> None:
    shown = CliRunner().invoke(main, ["faults", "list"])
    assert shown.exit_code == 0
    assert all(name in shown.output for name in INJECTORS)


def test_list_as_json_is_one_list_with_every_field() -> None:
    plain = json.loads(CliRunner().invoke(main, ["faults", "list", "--json"]).output)
    assert [row["name"] for row in plain] == list(INJECTORS)
    assert all(row.keys() == {"name", "target", "seconds", "does", "must_hold", "heals"} for row in plain)


def test_an_unknown_fault_is_a_usage_error_and_touches_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["faults", "run", "no-such", "--stand", str(tmp_path / "s")])
    assert done.exit_code == 2
    assert "unknown faults: no-such" in done.output
    assert not (tmp_path / "s").exists()


def test_a_spoilt_schedule_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    done = CliRunner().invoke(main, ["faults", "run", "--schedule", str(tmp_path / "s.json")])
    assert done.exit_code == 2
    assert "seed: Field required" in done.output
