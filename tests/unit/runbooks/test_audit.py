"""What `biyi audit verify` tells an auditor, and with which exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance.audit.signing import make_signer, render_public_keys
from runbooks.cli import main
from tests.unit.compliance.made_export import KEYS, block_lines, make_export, write


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(render_public_keys(KEYS)))
    return path


def verify(path: Path, *words: str, home: Path) -> tuple[int, str]:
    done = CliRunner().invoke(
        main, ["audit", "verify", str(path), "--workers", "1", *words], env={"BIYI_HOME": str(home)}
    )
    return done.exit_code, done.output


def test_a_whole_export_holds(tmp_path: Path, keys: Path) -> None:
    path = write(tmp_path / "x.audit", make_export().lines())
    code, said = verify(path, "--keys", str(keys), "--json", home=tmp_path)
    plain = json.loads(said)
    assert (code, plain["holds"], plain["entries"], plain["keys_pinned"]) == (0, True, 110, True)


def test_the_first_bad_entry_is_told(tmp_path: Path, keys: Path) -> None:
    lines = [line.replace(b'"said": "47"', b'"said": "48"') for line in make_export().lines()]
    path = write(tmp_path / "x.audit", lines)
    code, said = verify(path, "--keys", str(keys), home=tmp_path)
    assert code == 1
    assert "First bad: a, number 47: edited" in said
    code, said = verify(path, "--keys", str(keys), "--json", home=tmp_path)
    assert (code, json.loads(said)["first"]["number"]) == (1, 47)


def spoil(how: str) -> list[bytes]:
    """Return the lines of an export after what the defect says was done to it."""
    export = make_export()
    lines = export.lines()
    entries = [number for number, line in enumerate(lines) if line.startswith(b"E ")]
    blocks = [number for number, line in enumerate(lines) if line.startswith(b"B ")]
    signed = [number for number, line in enumerate(lines) if line.startswith(b"C ")]
    one = entries[20]
    match how:
        case "deleted":
            del lines[one]
        case "edited":
            lines[one] = lines[one].replace(b"posted", b"pasted")
        case "reordered":
            lines[one : one + 2] = lines[one + 1], lines[one]
        case "repeated":
            lines.insert(one, lines[one])
        case "inserted":
            lines.insert(one, lines[entries[-1]])
        case "truncated":
            del export.chains["a"][-1:]
            lines = export.lines()
        case "spliced":
            lines[blocks[1] : blocks[2]] = block_lines(*export.chains["b"][1])
        case "forged":
            place = lines[signed[1]].index(b" ") + 1
            changed = b"0" if lines[signed[1]][place : place + 1] != b"0" else b"1"
            lines[signed[1]] = lines[signed[1]][:place] + changed + lines[signed[1]][place + 1 :]
    return lines


DEFECTS = ("deleted", "edited", "reordered", "repeated", "inserted", "truncated", "spliced", "forged")


@pytest.mark.parametrize("how", DEFECTS)
def test_each_defect_is_told_by_its_name_and_by_the_exit_code(tmp_path: Path, keys: Path, how: str) -> None:
    path = write(tmp_path / "x.audit", spoil(how))
    code, said = verify(path, "--keys", str(keys), "--json", home=tmp_path)
    plain = json.loads(said)
    assert (code, plain["holds"], plain["first"]["defect"]) == (1, False, how)


def test_an_export_played_back_after_history_was_set_back_is_told(tmp_path: Path, keys: Path) -> None:
    """Honest to the last byte, but older than what a site remembers to have signed."""
    export = make_export()
    export.remember("cloud")
    for chain in export.chains.values():
        del chain[-2:]
    for found in export.checkpoints.values():
        del found[-1:]
    path = write(tmp_path / "x.audit", export.lines())
    code, said = verify(path, "--keys", str(keys), "--json", home=tmp_path)
    assert (code, json.loads(said)["first"]["defect"]) == (1, "truncated")


def test_without_keys_nothing_is_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.audit", make_export().lines())
    code, said = verify(path, home=tmp_path)
    assert code == 2
    assert "--trust-file-keys" in said
    code, said = verify(path, "--trust-file-keys", home=tmp_path)
    assert code == 0
    assert "keys are the file's own" in said


def test_keys_of_strangers_do_not_vouch(tmp_path: Path) -> None:
    stranger = make_signer("idc")
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(render_public_keys({stranger.key_id: stranger.public})))
    path = write(tmp_path / "x.audit", make_export().lines())
    code, said = verify(path, "--keys", str(keys), home=tmp_path)
    assert code == 1
    assert "forged" in said
