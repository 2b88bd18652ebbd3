"""Key rings: what a version may do, what the files give away, and that old copies open nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.protection import ring as rings
from compliance.protection.errors import (
    KeyFileError,
    RingFileError,
    RingRefused,
    RootUnavailable,
    SealBroken,
    SubjectShredded,
)
from compliance.protection.fields import CUSTOMER_NAME, CUSTOMER_PHONE
from compliance.protection.held_keys import FollowedRing, derive_ring, hold_ring
from compliance.protection.key_file import ensure_key_file
from compliance.protection.keys import RootKey
from compliance.protection.ring import State
from compliance.protection.ring_file import change_ring, make_ring, read_head, read_ring
from compliance.protection.ring_keeper import LocalKeeper
from compliance.protection.rotation import Step, decide_rotation
from compliance.protection.vault import FixedKeys, Vault, open_secret, open_vault

TABLE = "core.customers"
ROW = "C" + "0" * 24
FILE_ROOT = {"kind": "file", "file": "root.key"}


def make_sites(folder: Path) -> dict[str, LocalKeeper]:
    keepers = {}
    for site, ring in rings.plant_rings(("cloud", "idc"), os.urandom).items():
        path = folder / site / "ring.json"
        ensure_key_file(path.parent / "root.key")
        make_ring(path, ring, FILE_ROOT)
        keepers[site] = LocalKeeper(path)
    return keepers


def vault_of(ring: rings.Ring) -> Vault:
    return Vault(FixedKeys(hold_ring(ring)), lambda: os.urandom(12))


def states_of(keepers: dict[str, LocalKeeper]) -> dict[str, dict[int, State]]:
    return {
        site: {int(v): State(s) for v, s in keeper.head().states[TABLE].items()}
        for site, keeper in keepers.items()
    }


def test_a_rotation_goes_through_both_sites_step_by_step(tmp_path: Path) -> None:
    keepers = make_sites(tmp_path)
    sealed = open_vault(keepers["idc"].path).encrypt(CUSTOMER_NAME, ROW, "张三")
    assert keepers["cloud"].grow(TABLE) == keepers["cloud"].grow(TABLE) == 2
    taken = []
    proved = False
    while (step := decide_rotation(states_of(keepers), no_row_left=proved)).step is not Step.DONE:
        taken.append((step.step.name, step.site, step.version))
        idc = open_vault(keepers["idc"].path)
        for vault in (idc, open_vault(keepers["cloud"].path)):
            # At every step each site opens what the other seals at that step.
            assert vault.decrypt(CUSTOMER_NAME, ROW, idc.encrypt(CUSTOMER_NAME, ROW, "李四")) == "李四"
            assert vault.decrypt(CUSTOMER_NAME, ROW, sealed) == "张三"
        if step.step is Step.SEND:
            keepers["idc"].receive(TABLE, keepers["cloud"].send(TABLE, 2))
        elif step.step is Step.PROMOTE:
            keepers[str(step.site)].promote(TABLE, 2)
        elif step.step is Step.REWRAP:
            sealed, proved = idc.encrypt(CUSTOMER_NAME, ROW, "张三"), True
        else:
            keepers[str(step.site)].retire(TABLE, int(step.version or 0))
    assert taken == [
        ("SEND", "idc", 2), ("PROMOTE", "cloud", 2), ("PROMOTE", "idc", 2), ("REWRAP", None, 2),
        ("RETIRE", "cloud", 1), ("RETIRE", "idc", 1),
    ]  # fmt: skip
    assert states_of(keepers)["idc"] == {1: State.RETIRED, 2: State.PRIMARY}


STATES = st.dictionaries(st.integers(1, 4), st.sampled_from(State), min_size=1)


@given(STATES, STATES, st.booleans())
def test_nothing_is_promoted_that_one_site_lacks_nor_retired_that_a_row_may_need(
    idc: dict[int, State], cloud: dict[int, State], proved: bool
) -> None:
    step = decide_rotation({"idc": idc, "cloud": cloud}, no_row_left=proved)
    newest = max(*idc, *cloud)
    if step.step is Step.PROMOTE:
        assert newest in idc
        assert newest in cloud
    if step.step is Step.RETIRE:
        assert proved
        assert State.ARRIVED not in (idc[newest], cloud[newest])
        assert {"idc": idc, "cloud": cloud}[str(step.site)][int(step.version or 0)] is State.OLD


def test_a_retired_version_opens_nothing_until_it_is_reopened(tmp_path: Path) -> None:
    path = make_sites(tmp_path)["idc"].path
    vault = open_vault(path)
    sealed = vault.encrypt(CUSTOMER_NAME, ROW, "张三")
    keeper = LocalKeeper(path)
    keeper.grow(TABLE)
    keeper.promote(TABLE, 2)
    assert vault.decrypt(CUSTOMER_NAME, ROW, sealed) == "张三"
    keeper.retire(TABLE, 1)
    with pytest.raises(SealBroken, match="key version 1 is not held here"):
        open_vault(path).decrypt(CUSTOMER_NAME, ROW, sealed)
    change_ring(path, lambda ring: rings.reopen(ring, TABLE, 1))
    assert open_vault(path).decrypt(CUSTOMER_NAME, ROW, sealed) == "张三"
    change_ring(path, lambda ring: rings.destroy(rings.retire(ring, TABLE, 1), TABLE, 1))
    assert read_ring(path).version(TABLE, 1) == rings.KeyVersion(1, State.DESTROYED)


@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        (rings.promote, 1, None),
        (rings.promote, 9, "no version 9"),
        (rings.retire, 1, "is primary, needs old"),
        (rings.reopen, 1, "is primary, needs retired"),
        (rings.destroy, 1, "is primary, needs retired"),
    ],
)
def test_refuses_a_move_that_the_state_does_not_allow(change: Any, version: int, words: str | None) -> None:
    ring = rings.plant_rings(["idc"], os.urandom)["idc"]
    if words is None:
        assert change(ring, TABLE, version) is ring
        return
    with pytest.raises(RingRefused, match=words):
        change(ring, TABLE, version)


def test_another_key_under_a_known_number_is_refused() -> None:
    ring = rings.plant_rings(["idc"], os.urandom)["idc"]
    with pytest.raises(RingRefused, match="another key is version 1"):
        rings.add_version(ring, TABLE, rings.grow_version(1, ["phone"], os.urandom))
    with pytest.raises(RingRefused, match="version 65536"):
        rings.add_version(ring, TABLE, rings.grow_version(65536, ["phone"], os.urandom))


def test_a_table_with_one_key_for_all_rows_cannot_be_shredded_from() -> None:
    ring = derive_ring(RootKey(1, bytes(range(32))), "idc")
    with pytest.raises(RingRefused, match="has one key for all rows"):
        rings.shred(ring, TABLE, ROW)


def test_shredding_closes_one_customer_in_every_version_and_no_other() -> None:
    ring = rings.plant_rings(["idc"], os.urandom)["idc"]
    other = "C" + "1" * 24
    sealed = {row: vault_of(ring).encrypt(CUSTOMER_NAME, row, "张三") for row in (ROW, other)}
    ring = rings.add_version(ring, TABLE, rings.grow_version(2, ["id_number", "phone"], os.urandom))
    left = vault_of(rings.shred(rings.promote(ring, TABLE, 2), TABLE, ROW))
    assert left.decrypt(CUSTOMER_NAME, other, sealed[other]) == "张三"
    with pytest.raises(SubjectShredded):
        left.decrypt(CUSTOMER_NAME, ROW, sealed[ROW])


def test_while_versions_change_a_row_is_found_by_either_index() -> None:
    ring = rings.plant_rings(["idc"], os.urandom)["idc"]
    before = vault_of(ring).blind_index(CUSTOMER_PHONE, "13800138000")
    ring = rings.add_version(ring, TABLE, rings.grow_version(2, ["id_number", "phone"], os.urandom))
    vault = vault_of(rings.promote(ring, TABLE, 2))
    after = vault.blind_index(CUSTOMER_PHONE, "13800138000")
    assert before != after
    assert sorted(vault.search_indexes(CUSTOMER_PHONE, "13800138000")) == sorted([before, after])


def test_a_running_process_follows_its_ring_and_a_pinned_vault_does_not(tmp_path: Path) -> None:
    path = make_sites(tmp_path)["idc"].path
    now = [0.0]
    vault = Vault(FollowedRing(path, lambda: now[0]), lambda: os.urandom(12))
    pinned = vault.now()
    keeper = LocalKeeper(path)
    keeper.grow(TABLE)
    keeper.promote(TABLE, 2)
    assert vault.versions()[TABLE] == 1  # not looked yet
    newer = open_vault(path).encrypt(CUSTOMER_NAME, ROW, "张三")
    assert vault.decrypt(CUSTOMER_NAME, ROW, newer) == "张三"  # an unknown version makes it look at once
    now[0] = 1.0
    assert vault.versions()[TABLE] == 2
    assert pinned.versions()[TABLE] == 1


def test_a_ring_that_breaks_while_in_use_changes_nothing(tmp_path: Path, caplog: Any) -> None:
    path = make_sites(tmp_path)["idc"].path
    followed = FollowedRing(path)
    before = followed()
    path.write_text("{}")
    assert followed.refresh() is before
    assert "cannot be read again (RingFileError)" in caplog.text


def test_an_old_copy_of_the_ring_opens_nothing_after_a_change(tmp_path: Path) -> None:
    path = make_sites(tmp_path)["idc"].path
    copied = path.read_bytes()
    change_ring(path, lambda ring: rings.shred(ring, TABLE, ROW))
    path.write_bytes(copied)
    with pytest.raises(RingFileError, match="key-encryption key it names is not there"):
        read_ring(path)


def test_the_files_hold_no_key_in_clear_and_are_private(tmp_path: Path) -> None:
    path = make_sites(tmp_path)["idc"].path
    ring = read_ring(path)
    top = ring.primary(TABLE).tree
    assert top is not None
    secrets = [*ring.secrets.values(), top.nodes[""], *ring.primary(TABLE).index_keys.values()]
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0
        if file.name != "root.key":
            assert not [secret for secret in secrets if secret.hex() in file.read_text()]
    assert not [secret for secret in secrets if secret.hex() in repr(ring) or str(secret)[2:-1] in repr(ring)]


@pytest.mark.parametrize("field", ["generation", "states", "holders", "signer", "site", "sealed", "root"])
def test_a_changed_ring_does_not_open(tmp_path: Path, field: str) -> None:
    path = make_sites(tmp_path)["idc"].path
    document = json.loads(path.read_text())
    changes: dict[str, Any] = {
        "generation": 9, "states": {TABLE: {"1": "retired"}}, "holders": {"eve": "00"}, "signer": "00",
        "site": "cloud", "sealed": "00" + document["sealed"][2:], "root": FILE_ROOT | {"note": "x"},
    }  # fmt: skip
    path.write_text(json.dumps(document | {field: changes[field]}))
    with pytest.raises((RingFileError, RootUnavailable)):
        read_ring(path)


def test_a_ring_under_another_root_or_open_to_others_is_refused(tmp_path: Path) -> None:
    keepers = make_sites(tmp_path)
    path = keepers["idc"].path
    (path.parent / "root.key").write_bytes((tmp_path / "cloud" / "root.key").read_bytes())
    with pytest.raises(RootUnavailable, match="not of this root"):
        open_vault(path)
    keepers["cloud"].path.chmod(0o644)
    with pytest.raises(RingFileError, match="needs 0600"):
        open_vault(keepers["cloud"].path)
    with pytest.raises(KeyFileError):
        open_vault(tmp_path / "ring.json")


def test_a_ring_is_never_overwritten(tmp_path: Path) -> None:
    path = make_sites(tmp_path)["idc"].path
    with pytest.raises(RingFileError, match="there is a key ring already"):
        make_ring(path, rings.plant_rings(["idc"], os.urandom)["idc"], FILE_ROOT)


def test_a_stand_from_before_rings_opens_what_it_sealed(tmp_path: Path) -> None:
    root = RootKey(1, os.urandom(32))
    ring = derive_ring(root, "idc")
    ensure_key_file(tmp_path / "root.key")
    make_ring(tmp_path / "ring.json", ring, FILE_ROOT)
    sealed = vault_of(ring).encrypt(CUSTOMER_NAME, ROW, "张三")
    assert open_vault(tmp_path / "ring.json").decrypt(CUSTOMER_NAME, ROW, sealed) == "张三"
    assert open_secret(tmp_path / "ring.json", "backup") == ring.secrets["backup"]
    assert read_head(tmp_path / "ring.json").generation == 0


def test_a_version_for_another_table_does_not_arrive(tmp_path: Path) -> None:
    keepers = make_sites(tmp_path)
    keepers["cloud"].grow(TABLE)
    sealed = keepers["cloud"].send(TABLE, 2)
    with pytest.raises(RingRefused, match="was not sealed for"):
        keepers["idc"].receive("core.evidence", sealed)
    with pytest.raises(RingRefused, match="only indexes are stored"):
        keepers["idc"].grow("core.evidence")
