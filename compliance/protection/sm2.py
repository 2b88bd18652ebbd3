"""SM2 signatures (GB/T 32918.2, SM3 digest, the default signer id) over `gmssl`, with its defects kept out.

Pure: the nonce is an argument, and must be fresh secret randomness for every signature: with a nonce
that is known or used twice, anybody computes the private key. Signatures and verification only; the SM2
encryption of `gmssl` accepts changed texts and is not offered (research/compliance.md 2.3, defects 1-4).
"""

from dataclasses import dataclass, field

from gmssl import sm2, sm3

SCALAR_BYTES = 32
SIGNATURE_BYTES = 64
SIGNER_ID = b"1234567812345678"
"""The signer id that GB/T 32918 names as default and every verifier assumes."""
_TABLE = sm2.default_ecc_table
_P, _N, _A, _B = (int(_TABLE[name], 16) for name in "pnab")


class SignatureRefused(ValueError):
    """A key, nonce or signature out of its range: nothing was computed with it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, 1 to n-2 (GB/T 32918.1), and the public key that belongs to it."""

    private: bytes = field(repr=False)
    public: bytes

    def sign(self, message: bytes, nonce: bytes) -> bytes:
        """Return r and s, 32 bytes each; `nonce` is 32 fresh bytes of a secret, uniform source.

        SignatureRefused for the rare nonce that is no scalar of the curve: draw another.
        """
        scalar = _scalar(nonce, "nonce")
        # Defect 1: without a nonce the library draws it from the Mersenne Twister, so it always gets one.
        signature = _engine(self.public, self.private.hex()).sign(
            _digest(self.public, message), f"{scalar:064x}"
        )
        if signature is None:
            raise SignatureRefused("this nonce gives no signature: draw another")
        return bytes.fromhex(signature)


def make_signing_key(private: bytes) -> SigningKey:
    """Return the key pair of 32 secret bytes; SignatureRefused when they are no private key."""
    scalar = _scalar(private, "private key")
    if scalar == _N - 1:
        raise SignatureRefused("private key: n-1 has no signature")
    point = sm2.CryptSM2("", "")._kg(scalar, _TABLE["g"])
    return SigningKey(private, bytes.fromhex(point))


def private_key_of(secret: bytes) -> bytes:
    """Return the private key of 32 random bytes: 1 to n-2, whatever they are."""
    return (int.from_bytes(secret, "big") % (_N - 2) + 1).to_bytes(SCALAR_BYTES, "big")


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether `signature` is the holder's of `public` over `message`; anything malformed is not."""
    if not is_public_key(public) or not is_in_range(signature):
        return False
    try:
        return bool(_engine(public, "").verify(signature.hex(), _digest(public, message)))
    except (TypeError, ValueError):  # the point at infinity, which the library cannot write down
        return False


def is_in_range(signature: bytes) -> bool:
    """Say whether r and s are 1 to n-1: the library takes s + n for another spelling of the same."""
    parts = (signature[:SCALAR_BYTES], signature[SCALAR_BYTES:])
    return len(signature) == SIGNATURE_BYTES and all(1 <= int.from_bytes(p, "big") < _N for p in parts)


def is_public_key(public: bytes) -> bool:
    """Say whether 64 bytes are a point of the curve: the library would compute with any other point too."""
    if len(public) != 2 * SCALAR_BYTES:
        return False
    x, y = int.from_bytes(public[:32], "big"), int.from_bytes(public[32:], "big")
    return x < _P and y < _P and (y * y - x * x * x - _A * x - _B) % _P == 0


def _engine(public: bytes, private_hex: str) -> sm2.CryptSM2:
    # Defect 2: the constructor strips leading 0 and 4 digits off a public key; set it afterwards.
    # Defect 9: one object a call, never shared.
    engine = sm2.CryptSM2(private_hex, "")
    engine.public_key = public.hex()
    return engine


def _digest(public: bytes, message: bytes) -> bytes:
    """Return SM3(Z || message), Z as GB/T 32918.2 section 5.5 defines it."""
    curve = "".join(_TABLE[name] for name in "abg")
    identity = (len(SIGNER_ID) * 8).to_bytes(2, "big") + SIGNER_ID + bytes.fromhex(curve) + public
    # Defect 8: it pads the caller's list in place; both lists are ours and used once.
    z = bytes.fromhex(sm3.sm3_hash(list(identity)))
    return bytes.fromhex(sm3.sm3_hash(list(z + message)))


def _scalar(text: bytes, name: str) -> int:
    scalar = int.from_bytes(text, "big")
    if len(text) != SCALAR_BYTES or not 1 <= scalar < _N:
        raise SignatureRefused(f"{name}: not a scalar of the curve in {SCALAR_BYTES} bytes")
    return scalar
