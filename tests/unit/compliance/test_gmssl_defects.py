"""Each defect of gmssl 3.2.2 (research/compliance.md 2.3): it is there, and our adapters are immune to it."""

import random
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gmssl import func, sm2, sm3, sm4

import compliance
from compliance.protection import known_answers
from compliance.protection.gmssl_engine import compute_sm3, encrypt_sm4_block
from compliance.protection.sm2 import (
    SignatureRefused,
    is_in_range,
    is_public_key,
    is_signed,
    make_signing_key,
)

N = int(sm2.default_ecc_table["n"], 16)
MESSAGE = "检查点 checkpoint".encode()
SOURCES = {path: path.read_text() for path in (Path(compliance.__file__).parent).rglob("*.py")}


def test_1_nonces_come_from_the_caller_never_from_a_predictable_generator() -> None:
    random.seed(7)
    first = func.random_hex(64)
    random.seed(7)
    assert func.random_hex(64) == first  # the defect: who knows the seed knows the nonce
    key = make_signing_key(secrets.token_bytes(32))
    signatures = set()
    for _ in range(3):
        random.seed(7)
        signatures.add(key.sign(MESSAGE, secrets.token_bytes(32)))
    assert len(signatures) == 3
    for nonce in (b"", bytes(32), N.to_bytes(32, "big"), b"\xff" * 32, b"n" * 31):
        with pytest.raises(SignatureRefused):
            key.sign(MESSAGE, nonce)


def test_2_public_keys_that_begin_with_0_or_4_are_not_cut() -> None:
    checked = 0
    for number in range(1, 40):
        key = make_signing_key(number.to_bytes(32, "big"))
        text = "04" + key.public.hex()
        if len(text.lstrip("04")) == 128:
            continue
        checked += 1
        naive = sm2.CryptSM2("", text)
        assert len(naive.public_key) < 128  # the defect
        assert is_signed(key.public, MESSAGE, key.sign(MESSAGE, secrets.token_bytes(32)))
        if checked == 2:
            return
    pytest.fail("no affected key among 39: the test shows nothing")


def test_3_and_4_sm2_encryption_is_not_offered() -> None:
    key = make_signing_key(secrets.token_bytes(32))
    naive = sm2.CryptSM2(key.private.hex(), key.public.hex())
    sealed = naive.encrypt(b"amount=100")
    assert sealed is not None
    forged = bytearray(sealed)
    forged[64 + 9] ^= 1  # C1C2C3 although the documentation says C1C3C2: the tenth byte of the text
    assert naive.decrypt(bytes(forged)) == b"amount=101"  # the defect: C3 is computed and not compared
    assert not hasattr(key, "encrypt")
    used = [path for path, text in SOURCES.items() if "CryptSM2" in text]
    assert [path.name for path in used] == ["sm2.py"]
    assert not [path for path in used if ".encrypt(" in SOURCES[path] or ".decrypt(" in SOURCES[path]]


def test_5_and_6_its_modes_of_operation_are_not_used() -> None:
    cipher = sm4.CryptSM4(padding_mode=sm4.ZERO)
    cipher.set_key(known_answers.SM4_KEY, sm4.SM4_ENCRYPT)
    sealed = cipher.crypt_ecb(b"abc")
    cipher.set_key(known_answers.SM4_KEY, sm4.SM4_DECRYPT)
    assert cipher.crypt_ecb(sealed) != b"abc"  # defect 6: one byte of the padding is taken off
    iv, other = bytes(16), sm4.CryptSM4()
    cipher.set_key(known_answers.SM4_KEY, sm4.SM4_ENCRYPT)
    sealed = cipher.crypt_cbc(iv, b"amount=100")
    other.set_key(b"another key, 16B", sm4.SM4_DECRYPT)
    assert other.crypt_cbc(iv, sealed) != b"amount=100"  # defect 5: no padding is checked, "success"
    calls = ("crypt_cbc(", "crypt_ecb(")
    assert not [path for path, text in SOURCES.items() if any(call in text for call in calls)]


@pytest.mark.parametrize("length", [0, 1, 15, 17, 24, 32])
def test_7_keys_and_blocks_of_another_length_are_refused(length: int) -> None:
    naive = sm4.CryptSM4()
    naive.set_key(known_answers.SM4_KEY + b"more", sm4.SM4_ENCRYPT)  # the defect: cut silently
    for key, block in ((b"k" * length, b"b" * 16), (b"k" * 16, b"b" * length)):
        with pytest.raises(ValueError, match="needs 16 and 16"):
            encrypt_sm4_block(key, block)


def test_8_what_is_hashed_or_signed_is_not_changed() -> None:
    naive = list(b"abc")
    assert sm3.sm3_hash(naive) != sm3.sm3_hash(naive)  # the defect: the list was padded in place
    message = bytearray(b"abc")
    assert compute_sm3(bytes(message)) == compute_sm3(bytes(message)) == known_answers.SM3_ABC
    key = make_signing_key(secrets.token_bytes(32))
    nonce = secrets.token_bytes(32)
    assert key.sign(MESSAGE, nonce) == key.sign(MESSAGE, nonce)
    assert message == b"abc"


def test_9_threads_do_not_share_a_key_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [bytes([n]) * 16 for n in (1, 2)]
    right = {key: encrypt_sm4_block(key, known_answers.SM4_PLAIN) for key in keys}
    both, plain = threading.Barrier(2, timeout=30), sm4.CryptSM4.set_key

    def set_key_and_wait(engine: sm4.CryptSM4, key: bytes, mode: int) -> None:
        """Let each thread encrypt only once the other has set its key: the defect's moment."""
        plain(engine, key, mode)
        both.wait()

    monkeypatch.setattr(sm4.CryptSM4, "set_key", set_key_and_wait)
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(lambda key: encrypt_sm4_block(key, known_answers.SM4_PLAIN), keys)
        assert dict(zip(keys, found, strict=True)) == right


def test_10_what_it_lacks_comes_from_the_other_engine() -> None:
    assert not hasattr(sm4.CryptSM4, "crypt_gcm")
    assert not hasattr(sm4.CryptSM4, "crypt_ctr")
    bulk = {"gmssl_engine.py", "sm2.py"}
    importing = {path.name for path, text in SOURCES.items() if "from gmssl import" in text}
    assert importing == bulk


def test_an_eleventh_it_verifies_numbers_beyond_the_order_and_points_beside_the_curve() -> None:
    key = make_signing_key((5).to_bytes(32, "big"))
    signature = key.sign(MESSAGE, secrets.token_bytes(32))
    assert is_signed(key.public, MESSAGE, signature)
    naive = sm2.CryptSM2("", "")
    naive.public_key = key.public.hex()
    small, r = 3, 7  # a small s fits into 32 bytes with n added; its digest follows from r
    point = naive._add_point(
        naive._kg(small, naive.ecc_table["g"]) + "1", naive._kg(r + small, naive.public_key)
    )
    digest = (r - int(naive._convert_jacb_to_nor(point)[:64], 16)) % N
    spellings = [b"".join(n.to_bytes(32, "big") for n in (r, s)) for s in (small, small + N)]
    assert [bool(naive.verify(text.hex(), digest.to_bytes(32, "big"))) for text in spellings] == [True, True]
    assert [is_in_range(text) for text in spellings] == [True, False]
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    for other in ((0, s), (r, 0), (N, s), (r, N), (N - r, s), (r, N - s)):
        assert not is_signed(key.public, MESSAGE, b"".join(n.to_bytes(32, "big") for n in other))
    assert not is_signed(key.public[:-1] + bytes([key.public[-1] ^ 1]), MESSAGE, signature)
    assert not is_signed(key.public, MESSAGE, signature + b"\0")
    assert not is_signed(key.public, MESSAGE + b".", signature)
    assert is_public_key(key.public)
    assert not is_public_key(bytes(64))
