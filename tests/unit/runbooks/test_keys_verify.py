"""`biyi keys verify`: a shredding is proved by a receipt of each site, signed by that site."""

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compliance.protection import ring as rings
from compliance.protection.key_file import ensure_key_file
from compliance.protection.receipt import Destroyed, sign_receipt
from compliance.protection.ring_file import make_ring, read_ring, site_signing_key
from compliance.protection.ring_keeper import LocalKeeper
from replication.model import Site
from runbooks.keys import cli
from runbooks.stand.topology import write_stand
from tests.unit.stand.making import a_stand

NOW = dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC)
GONE = "C" + "0" * 24


@pytest.fixture
def keepers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, LocalKeeper]:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    stand, made = a_stand(home=tmp_path), {}
    write_stand(stand)
    for site, ring in rings.plant_rings(("idc", "cloud"), os.urandom).items():
        path = stand.ring_path(Site(site))
        ensure_key_file(path.parent / "root.key")
        make_ring(path, ring, {"kind": "file", "file": "root.key"})
        made[site] = LocalKeeper(path)
    return made


def receipt(keepers: dict[str, LocalKeeper], site: str, by: str = "", request: str = "aa") -> dict[str, Any]:
    """A receipt of `site`, signed by the site `by`."""
    done = Destroyed(site, GONE, 2, "dead", NOW)
    key = site_signing_key(read_ring(keepers[by or site].path))
    return sign_receipt(done, request, ["li", "wang"], key, os.urandom(32))


def verify(tmp_path: Path, *receipts: dict[str, Any]) -> tuple[int, str]:
    paths = []
    for number, one in enumerate(receipts):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(one))
    done = CliRunner().invoke(cli.keys, ["verify", *map(str, paths)])
    return done.exit_code, done.output


def test_a_receipt_of_each_site_is_proof(tmp_path: Path, keepers: dict[str, LocalKeeper]) -> None:
    code, said = verify(tmp_path, receipt(keepers, "idc"), receipt(keepers, "cloud"))
    assert (code, said.count("genuine  "), "NOT" in said) == (0, 2, False)


@pytest.mark.parametrize("site", ["idc", "cloud"])
def test_one_site_alone_is_no_proof(tmp_path: Path, keepers: dict[str, LocalKeeper], site: str) -> None:
    code, said = verify(tmp_path, receipt(keepers, site))
    other = "cloud" if site == "idc" else "idc"
    assert code == 1
    assert f"INCOMPLETE   {GONE}: no receipt of {other}" in said


def test_one_site_cannot_sign_for_the_other(tmp_path: Path, keepers: dict[str, LocalKeeper]) -> None:
    code, said = verify(tmp_path, receipt(keepers, "idc"), receipt(keepers, "cloud", by="idc"))
    assert code == 1
    assert "NOT GENUINE" in said
    assert "no receipt of cloud" in said


def test_receipts_of_two_requests_do_not_make_one(tmp_path: Path, keepers: dict[str, LocalKeeper]) -> None:
    code, said = verify(tmp_path, receipt(keepers, "idc"), receipt(keepers, "cloud", request="bb"))
    assert (code, "INCOMPLETE" in said) == (1, True)


def test_a_receipt_that_was_changed_is_none(tmp_path: Path, keepers: dict[str, LocalKeeper]) -> None:
    changed = receipt(keepers, "cloud") | {"approved_by": ["li"]}
    code, said = verify(tmp_path, receipt(keepers, "idc"), changed)
    assert (code, said.count("NOT GENUINE")) == (1, 1)
