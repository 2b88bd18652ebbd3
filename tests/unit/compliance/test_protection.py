"""Field protection: published vectors, what does not open, keys that are refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from compliance.protection import known_answers, selftest
from compliance.protection.errors import KeyFileError, SealBroken, SelfTestFailed
from compliance.protection.fields import (
    CUSTOMER_ID_NUMBER,
    CUSTOMER_NAME,
    CUSTOMER_PHONE,
    PROTECTED_COLUMNS,
    DataClass,
    Shape,
)
from compliance.protection.gmssl_engine import compute_sm3, encrypt_sm4_block
from compliance.protection.held_keys import derive_ring, hold_ring
from compliance.protection.index import compute_hmac_sm3
from compliance.protection.key_file import ensure_key_file, read_key_file
from compliance.protection.keys import RootKey, derive_field_key, derive_index_key, derive_mac_key
from compliance.protection.masking import Profile, mask
from compliance.protection.sm2 import make_signing_key
from compliance.protection.vault import Vault, make_vault, open_vault

ROOT = RootKey(1, bytes(range(32)))
GCM = json.loads((Path(__file__).parents[2] / "vectors" / "rfc8998_sm4_gcm.json").read_text())


def vault_of(root: RootKey = ROOT) -> Vault:
    return make_vault(root, lambda: os.urandom(12))


def test_sm4_gcm_matches_rfc_8998() -> None:
    given_bytes = {name: bytes.fromhex(text) for name, text in GCM.items()}
    encryptor = Cipher(algorithms.SM4(given_bytes["key"]), modes.GCM(given_bytes["nonce"])).encryptor()
    encryptor.authenticate_additional_data(given_bytes["bound"])
    assert encryptor.update(given_bytes["plain"]) + encryptor.finalize() == given_bytes["cipher"]
    assert encryptor.tag == given_bytes["tag"]
    assert given_bytes["cipher"] + given_bytes["tag"] == known_answers.GCM_CIPHER + known_answers.GCM_TAG


def test_sm2_signs_as_gb_t_32918_5_says() -> None:
    given_text = (Path(__file__).parents[2] / "vectors" / "gbt32918_sm2.json").read_text()
    vector = json.loads(given_text)
    key = make_signing_key(bytes.fromhex(vector["private"]))
    assert key.public.hex() == vector["public"]
    signature = key.sign(vector["message"].encode(), bytes.fromhex(vector["nonce"]))
    assert signature.hex() == vector["signature"]
    assert signature == known_answers.SM2_SIGNATURE


def test_sm4_a_million_times_over_matches_gb_t_32907() -> None:
    assert selftest.sm4_rounds(1_000_000) == known_answers.SM4_CIPHER_1_000_000


def test_every_self_test_passes_on_both_engines() -> None:
    passed = selftest.run_self_tests()
    assert {name.split()[0] for name in passed} == {"cryptography", "gmssl", "cross-engine"}


@pytest.mark.parametrize("answer", ["SM4_CIPHER", "SM4_CIPHER_10_000", "GCM_TAG", "SM3_ABC", "SM2_SIGNATURE"])
def test_one_wrong_answer_refuses_to_start(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    right = getattr(known_answers, answer)
    monkeypatch.setattr(known_answers, answer, bytes([right[0] ^ 1]) + right[1:])
    with pytest.raises(SelfTestFailed):
        selftest.run_self_tests()


def test_the_second_engines_defects_are_guarded() -> None:
    message = bytearray(b"abc")
    assert compute_sm3(bytes(message)) == compute_sm3(bytes(message)) == known_answers.SM3_ABC
    for key in (b"k" * 15, b"k" * 17, b"k" * 32):
        with pytest.raises(ValueError, match="needs 16"):
            encrypt_sm4_block(key, b"b" * 16)


@given(st.text(max_size=200), st.from_regex(r"C[0-9a-f]{24}", fullmatch=True))
def test_a_sealed_value_opens_in_its_own_row_only(value: str, row: str) -> None:
    vault = vault_of()
    stored = vault.encrypt(CUSTOMER_NAME, row, value)
    assert vault.decrypt(CUSTOMER_NAME, row, stored) == value
    assert stored[:3] == b"\x01\x00\x01"
    with pytest.raises(SealBroken):
        vault.decrypt(CUSTOMER_NAME, row + "0", stored)
    with pytest.raises(SealBroken):
        vault.decrypt(CUSTOMER_PHONE, row, stored)


def test_equal_values_are_sealed_differently() -> None:
    vault = vault_of()
    assert len({vault.encrypt(CUSTOMER_NAME, "C1", "张三") for _ in range(50)}) == 50


def test_any_changed_byte_keeps_a_value_shut() -> None:
    vault = vault_of()
    stored = vault.encrypt(CUSTOMER_ID_NUMBER, "C1", "11010519491231002X")
    for place in range(len(stored)):
        broken = stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]
        with pytest.raises(SealBroken) as refused:
            vault.decrypt(CUSTOMER_ID_NUMBER, "C1", broken)
        assert "1101" not in str(refused.value)
    for length in range(len(stored)):
        with pytest.raises(SealBroken):
            vault.decrypt(CUSTOMER_ID_NUMBER, "C1", stored[:length])


def test_another_root_opens_nothing_and_indexes_differently() -> None:
    one, other = vault_of(), vault_of(RootKey(1, b"r" * 32))
    with pytest.raises(SealBroken):
        other.decrypt(CUSTOMER_NAME, "C1", one.encrypt(CUSTOMER_NAME, "C1", "x"))
    assert one.blind_index(CUSTOMER_PHONE, "1") != other.blind_index(CUSTOMER_PHONE, "1")


def test_no_two_purposes_share_a_key() -> None:
    keys = [derive_mac_key(ROOT, purpose) for purpose in ("slot", "customer-id", "request")]
    keys += [derive_index_key(ROOT, c.table, c.name) for c in PROTECTED_COLUMNS]
    keys += [derive_field_key(ROOT, table).ljust(32, b"\0") for table in ("core.customers", "core.other")]
    assert len(set(keys)) == len(keys) == 5 + len(PROTECTED_COLUMNS)


def test_a_blind_index_is_keyed_and_only_for_indexed_columns() -> None:
    vault = vault_of()
    assert vault.blind_index(CUSTOMER_PHONE, "1") == vault.blind_index(CUSTOMER_PHONE, "1")
    assert vault.blind_index(CUSTOMER_PHONE, "1") != vault.blind_index(CUSTOMER_ID_NUMBER, "1")
    assert vault.blind_index(CUSTOMER_PHONE, "1") != compute_hmac_sm3(b"", b"1")
    with pytest.raises(KeyError):
        vault.blind_index(CUSTOMER_NAME, "张三")


def test_no_key_shows_in_repr() -> None:
    ring = derive_ring(ROOT, "idc")
    shown = repr(vault_of()) + repr(ROOT) + repr(ring) + repr(hold_ring(ring))
    assert "x00\\x01" not in shown
    assert ROOT.secret.hex() not in shown
    assert derive_field_key(ROOT, "core.customers").hex() not in shown
    assert repr(derive_field_key(ROOT, "core.customers"))[2:-1] not in shown


def test_a_fresh_key_file_is_private_opens_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "field.key"
    ensure_key_file(path)
    first = path.read_bytes()
    ensure_key_file(path)
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_vault(path).versions() == {"access.accounts": 1, "core.customers": 1, "core.evidence": 1}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_refuses_a_key_file_that_others_may_use(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "field.key"
    ensure_key_file(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="needs 0600"):
        read_key_file(path)


ROOT_TEXT = "00" * 31 + "5e"
BAD_DOCUMENTS: list[Any] = [
    "not json",
    [],
    {},
    {"version": 1},
    {"version": 1, "root": ROOT_TEXT, "x": 1},
    {"version": 0, "root": ROOT_TEXT},
    {"version": True, "root": ROOT_TEXT},
    {"version": 1, "root": ROOT_TEXT[:-2]},
    {"version": 1, "root": "z" * 64},
    {"version": 1, "root": ROOT_TEXT[:-2] + "  "},
    {"version": 65536, "root": ROOT_TEXT},
]


@pytest.mark.parametrize("document", BAD_DOCUMENTS, ids=range(len(BAD_DOCUMENTS)))
def test_refuses_a_malformed_key_file_without_showing_the_key(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "field.key"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as refused:
        read_key_file(path)
    assert ROOT_TEXT[:20] not in str(refused.value)


def test_refuses_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="needs a key file"):
        read_key_file(tmp_path / "none")


MASKS = [
    ("张三", Shape.NAME, "张*", "**"),
    ("张三丰", Shape.NAME, "张**", "***"),
    ("欧阳娜娜", Shape.NAME, "欧阳**", "****"),
    ("Li Lei", Shape.NAME, "L* L**", "** ***"),
    ("11010519491231002X", Shape.ID_NUMBER, "110***********002X", "1****************X"),
    ("13800138000", Shape.PHONE, "138****8000", "*******8000"),
    ("12345678", Shape.PHONE, "********", "****5678"),
    ("", Shape.NAME, "", ""),
    ("abcdefghi", Shape.OTHER, "abc***ghi", "*********"),
]


@pytest.mark.parametrize(("value", "shape", "standard", "strict"), MASKS)
def test_masks_by_shape_and_profile(value: str, shape: Shape, standard: str, strict: str) -> None:
    assert mask(value, shape, DataClass.C2) == standard
    assert mask(value, shape, DataClass.C2, Profile.STRICT) == strict


@given(st.text(max_size=30), st.sampled_from(Shape), st.sampled_from(Profile))
def test_authentication_data_shows_nothing_not_even_its_length(
    value: str, shape: Shape, profile: Profile
) -> None:
    assert mask(value, shape, DataClass.C3, profile) == "******"


@given(st.text("0123456789", min_size=1, max_size=30), st.sampled_from([Shape.ID_NUMBER, Shape.PHONE]))
def test_masking_keeps_the_length_and_hides_at_least_two(value: str, shape: Shape) -> None:
    masked = mask(value, shape, DataClass.C2)
    assert len(masked) == len(value)
    assert masked.count("*") >= min(2, len(value))
