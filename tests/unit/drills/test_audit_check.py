"""A broken audit trail makes a drill's verdict red."""

from pathlib import Path

import pytest

from compliance.audit.verify import verify_export
from runbooks.drills.audit_check import judge_audit
from runbooks.drills.checkers import Verdict, overall
from runbooks.drills.rows import CellRows, CommandRow
from runbooks.drills.wording import MEANINGS
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


def test_what_could_not_be_exported_or_read_is_not_green() -> None:
    assert overall(judge_audit(None, {}, ROWS, "no grant")) is Verdict.UNKNOWN
