"""What `biyi audit verify` tells an auditor, and with which exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance.audit.signing import make_signer, render_public_keys
from runbooks.cli import main
from tests.unit.compliance.made_export import KEYS, make_export, write


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
