"""A drill's evidence is sealed, chained and verified without the stand; each attack on it is found."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance.audit.signing import PublicKeys, make_signer, render_public_keys
from runbooks.drills.cli import drill
from runbooks.drills.seal import SEAL_FILE, Sealed, seal_folder, verify_evidence

SIGNER = make_signer("idc", bytes(range(32)))
STRANGER = make_signer("idc", bytes(range(1, 33)))
KEYS: PublicKeys = {SIGNER.key_id: SIGNER.public}
AT = datetime(2026, 11, 23, tzinfo=UTC)
NAMES = tuple(f"2026112{number}T000000Z-site-loss-idc" for number in range(3))


def _make(evidence: Path, name: str) -> Path:
    folder = evidence / name
    (folder / "journals").mkdir(parents=True)
    (folder / "history.jsonl").write_text(f'{{"of": "{name}"}}\n')
    (folder / "verdict.json").write_text('{"verdict": "holds"}\n')
    (folder / "journals" / "idc-a-idc-0.jsonl").write_text("{}\n")
    return folder


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    for name in NAMES:
        seal_folder(_make(tmp_path / "evidence", name), SIGNER, AT)
    return tmp_path / "evidence"


def _verify(evidence: Path) -> dict[str, Sealed]:
    return {one.folder: one for one in verify_evidence(evidence, KEYS)}


def test_untouched_evidence_holds(evidence: Path) -> None:
    found = _verify(evidence)
    assert list(found) == list(NAMES)
    assert [one.findings for one in found.values()] == [(), (), ()]
    assert all(one.signed_by == f"{SIGNER.key_id} (idc)" for one in found.values())


def _change(folder: Path) -> None:
    (folder / "verdict.json").write_text('{"verdict": "HOLDS"}\n')


def _drop_file(folder: Path) -> None:
    (folder / "journals" / "idc-a-idc-0.jsonl").unlink()


def _add_file(folder: Path) -> None:
    (folder / "journals" / "more.jsonl").write_text("{}")


def _forge(folder: Path) -> None:
    (folder / SEAL_FILE).unlink()
    seal_folder(folder, STRANGER, AT)


def _edit_seal(folder: Path) -> None:
    text, signature = (folder / SEAL_FILE).read_bytes().splitlines()
    (folder / SEAL_FILE).write_bytes(text.replace(b"2026-11-23", b"2026-11-24") + b"\n" + signature + b"\n")


def _drop_seal(folder: Path) -> None:
    (folder / SEAL_FILE).unlink()


def _tear_seal(folder: Path) -> None:
    (folder / SEAL_FILE).write_bytes((folder / SEAL_FILE).read_bytes()[:40])


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (_change, "verdict.json was changed"),
        (_drop_file, "journals/idc-a-idc-0.jsonl is missing"),
        (_add_file, "journals/more.jsonl was added"),
        (_forge, "of no known key"),
        (_edit_seal, "of no known key"),
        (_drop_seal, "was not sealed"),
        (_tear_seal, "malformed"),
    ],
)
def test_an_attack_on_a_folder_is_found_there(
    evidence: Path, attack: Callable[[Path], None], said: str
) -> None:
    attack(evidence / NAMES[1])
    found = _verify(evidence)
    assert said in " ".join(found[NAMES[1]].findings)
    assert found[NAMES[0]].findings == ()


def test_a_folder_taken_out_is_found_by_the_next(evidence: Path) -> None:
    (evidence / NAMES[1]).rename(evidence.parent / "gone")
    found = _verify(evidence)
    assert f"follows {NAMES[1]}" in found[NAMES[2]].findings[0]


def test_a_folder_sealed_anew_is_found_by_the_next(evidence: Path) -> None:
    """Whoever has the key can seal a changed folder again; the drills after it still name the first seal."""
    _change(evidence / NAMES[1])
    seal_folder(evidence / NAMES[1], SIGNER, AT)
    found = _verify(evidence)
    assert found[NAMES[1]].findings == ()
    assert "sealed anew" in found[NAMES[2]].findings[0]


def test_a_seal_copied_from_another_folder_is_found(evidence: Path) -> None:
    (evidence / NAMES[2] / SEAL_FILE).write_bytes((evidence / NAMES[1] / SEAL_FILE).read_bytes())
    assert f"the seal is that of {NAMES[1]}" in _verify(evidence)[NAMES[2]].findings


def test_the_command_fails_when_a_folder_does_not_hold(evidence: Path, tmp_path: Path) -> None:
    keys = tmp_path / "auditor-keys.json"
    keys.write_text(json.dumps(render_public_keys(KEYS)))
    words = ["verify", "--keys", str(keys), "--evidence", str(evidence)]
    assert CliRunner().invoke(drill, words).exit_code == 0
    _change(evidence / NAMES[0])
    broken = CliRunner().invoke(drill, words)
    assert broken.exit_code == 1
    assert "DOES NOT HOLD" in broken.output
