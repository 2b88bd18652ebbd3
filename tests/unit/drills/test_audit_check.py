"""A broken audit trail makes a drill's verdict red."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.audit.verify import verify_export
from runbooks import drills
from runbooks.drills.audit_check import count_keys, judge_audit
from runbooks.drills.checkers import Finding, Verdict, overall
from runbooks.drills.cli import EXITS
from runbooks.drills.rows import CellRows, CommandRow
from runbooks.drills.wording import MEANINGS
from runbooks.evidence import EvidenceIncomplete, write_verdict
from tests.unit.compliance.made_export import KEYS, make_export, write

ROWS = {"a": CellRows("a", 1, (CommandRow("key-one", "draw", 1, 201, {}),))}


@pytest.mark.parametrize(
    ("break_it", "keys", "wanted"),
    [
        (False, {"key-one": 1}, Verdict.HOLDS),
        (True, {"key-one": 1}, Verdict.BROKEN),
        (False, {}, Verdict.BROKEN),
        (False, {"key-one": 2}, Verdict.BROKEN),
    ],
    ids=["whole", "an entry edited", "a command without its entry", "a command with two"],
)
def test_the_verdict_follows_the_trail(
    tmp_path: Path, break_it: bool, keys: dict[str, int], wanted: Verdict
) -> None:
    lines = make_export().lines()
    if break_it:
        lines = [line.replace(b'"said": "7"', b'"said": "8"') for line in lines]
    report = verify_export(write(tmp_path / "x.audit", lines), KEYS, workers=1)
    findings = judge_audit(report, keys, ROWS, "")
    assert overall(findings) is wanted
    assert {finding.name for finding in findings} <= MEANINGS.keys()


def test_a_command_is_counted_by_what_came_of_it_and_not_by_what_it_ordered_on_its_way(tmp_path: Path):
    ordered = {"what": "collection.ordered", "key": "day-end-close-000", "kind": "day-end"}
    ended = {"what": "day_end.close", "key": "day-end-close-000", "kind": "day-end", "status": 201}
    told = {"what": "session.began", "key": "", "status": 200}
    lines = [
        f"E 1 {number} {json.dumps(entry)}\n" for number, entry in enumerate((ordered, ordered, ended, told))
    ]
    path = tmp_path / "x.audit"
    path.write_text("".join(lines))
    assert count_keys(path) == {"day-end-close-000": 1}


def test_a_forged_trail_ends_a_drill_with_exit_1() -> None:
    bad = Finding("audit_chain_verifies", Verdict.BROKEN, 1, 9, ("cell a, block 3: forged",))
    assert EXITS[overall((bad,))] == 1
    assert EXITS[overall((replace(bad, verdict=Verdict.UNKNOWN),))] == 3


def test_no_drill_writes_a_verdict_without_the_trail(tmp_path: Path) -> None:
    with pytest.raises(EvidenceIncomplete, match="site-loss: no finding audit_chain_verifies"):
        write_verdict(tmp_path, {"drill": "site-loss"}, [{"name": "acknowledged_is_kept"}])
    assert not (tmp_path / "verdict.json").exists()
    write_verdict(tmp_path, {"drill": "site-loss"}, [{"name": "audit_chain_verifies"}])
    assert (tmp_path / "verdict.json").exists()


def test_every_drill_verifies_the_trail() -> None:
    """What opens a scene, judges it: each such file asks for the check by itself."""
    folder = Path(drills.__file__).parent
    files = [*folder.glob("*.py"), *(folder.parent / "faults").glob("*.py")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    judging = {name for name, text in texts.items() if "await read_final(" in text}
    assert len(judging) == 10, judging
    assert {name for name, text in texts.items() if "await check_audit(" in text} == judging


def test_what_could_not_be_exported_or_read_is_not_green() -> None:
    assert overall(judge_audit(None, {}, ROWS, "no grant")) is Verdict.UNKNOWN
