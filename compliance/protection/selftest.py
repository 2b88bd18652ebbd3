"""Known-answer and cross-engine tests, run once at start: a mismatch refuses to start."""

from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from compliance.protection import gmssl_engine, sm2
from compliance.protection import known_answers as known
from compliance.protection.errors import SelfTestFailed
from compliance.protection.index import compute_hmac_sm3

_HMAC_BLOCK_BYTES = 64


def run_self_tests() -> tuple[str, ...]:
    """Return the names of the tests passed; SelfTestFailed names the first engine and test that did not."""
    passed = []
    for name, given, expected in _questions():
        try:
            answer = given()
        except (UnsupportedAlgorithm, ValueError) as error:
            raise SelfTestFailed(f"{name}: the engine refused ({type(error).__name__})") from error
        if answer != expected:
            raise SelfTestFailed(f"{name}: the engine's answer differs from the published one")
        passed.append(name)
    return tuple(passed)


def _questions() -> tuple[tuple[str, Callable[[], bytes], bytes], ...]:
    cross_key, cross_block = bytes(range(16)), bytes(range(240, 256))
    cross_text = "比翼 cross-engine check".encode()
    return (
        ("cryptography SM4 block", lambda: _sm4_block(known.SM4_KEY, known.SM4_PLAIN), known.SM4_CIPHER),
        ("cryptography SM4 10,000 rounds", lambda: sm4_rounds(10_000), known.SM4_CIPHER_10_000),
        ("cryptography SM4-GCM RFC 8998 A.1", _sm4_gcm, known.GCM_CIPHER + known.GCM_TAG),
        ("cryptography SM3 abc", lambda: _sm3(b"abc"), known.SM3_ABC),
        ("cryptography SM3 abcd x 16", lambda: _sm3(b"abcd" * 16), known.SM3_ABCD_16),
        (
            "gmssl SM4 block",
            lambda: gmssl_engine.encrypt_sm4_block(known.SM4_KEY, known.SM4_PLAIN),
            known.SM4_CIPHER,
        ),
        ("gmssl SM3 abc", lambda: gmssl_engine.compute_sm3(b"abc"), known.SM3_ABC),
        ("gmssl SM3 abcd x 16", lambda: gmssl_engine.compute_sm3(b"abcd" * 16), known.SM3_ABCD_16),
        ("gmssl SM2 GB/T 32918.5", _sm2_signature, known.SM2_SIGNATURE),
        (
            "cross-engine SM4 block",
            lambda: _sm4_block(cross_key, cross_block),
            gmssl_engine.encrypt_sm4_block(cross_key, cross_block),
        ),
        ("cross-engine SM3", lambda: _sm3(cross_text), gmssl_engine.compute_sm3(cross_text)),
        (
            "cross-engine HMAC-SM3",
            lambda: compute_hmac_sm3(cross_key, cross_text),
            _hmac_by_gmssl(cross_key, cross_text),
        ),
    )


def _sm4_block(key: bytes, block: bytes) -> bytes:
    # ECB of one block is the bare block function, which is what the published vector asks.
    encryptor = Cipher(algorithms.SM4(key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(block) + encryptor.finalize()


def sm4_rounds(rounds: int) -> bytes:
    """Return the standard's block, encrypted over and over by its own key (GB/T 32907 example 2)."""
    block = known.SM4_PLAIN
    encryptor = Cipher(algorithms.SM4(known.SM4_KEY), modes.ECB()).encryptor()  # noqa: S305
    for _ in range(rounds):
        block = encryptor.update(block)
    return block


def _sm2_signature() -> bytes:
    """Sign, and give the signature away only if it verifies and another message's does not."""
    key = sm2.make_signing_key(known.SM2_PRIVATE)
    signature = key.sign(b"message digest", known.SM2_NONCE)
    holds = sm2.is_signed(key.public, b"message digest", signature)
    return signature if holds and not sm2.is_signed(key.public, b"message digesu", signature) else b""


def _sm4_gcm() -> bytes:
    encryptor = Cipher(algorithms.SM4(known.GCM_KEY), modes.GCM(known.GCM_NONCE)).encryptor()
    encryptor.authenticate_additional_data(known.GCM_BOUND)
    ciphertext = encryptor.update(known.GCM_PLAIN) + encryptor.finalize()
    return ciphertext + encryptor.tag


def _sm3(message: bytes) -> bytes:
    digest = hashes.Hash(hashes.SM3())
    digest.update(message)
    return digest.finalize()


def _hmac_by_gmssl(key: bytes, message: bytes) -> bytes:
    """HMAC spelled out over the other engine's SM3, so that the two share no code."""
    padded = key.ljust(_HMAC_BLOCK_BYTES, b"\0")
    inner = gmssl_engine.compute_sm3(bytes(byte ^ 0x36 for byte in padded) + message)
    return gmssl_engine.compute_sm3(bytes(byte ^ 0x5C for byte in padded) + inner)
