"""SM2 signatures of checkpoints and exports: the port, and its adapter over gmssl.

Of gmssl only point multiplication, signing of a digest and verification are used, against its defects
(research/compliance.md 2.3): the nonce is ours from `secrets`, the public key is set past the constructor
that mangles it, lengths and ranges are checked here, each call has an object of its own.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gmssl import sm2

from compliance.audit.digest import compute_sm3
from compliance.audit.errors import AuditKeyError

_SCALAR_BYTES, _POINT_BYTES, SIGNATURE_BYTES = 32, 64, 64
_P, _N, _A, _B = (int(sm2.default_ecc_table[name], 16) for name in "pnab")


class Signer(Protocol):
    """Signs with one key."""

    @property
    def key_id(self) -> str:
        """Return the id of the key, as in the list of public keys."""

    def sign(self, message: bytes) -> bytes:
        """Return the SM2 signature with SM3 of `message` (GB/T 32918.2, default signer id): r and s."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A site's key as auditors hold it: `point` is x and y, 64 bytes."""

    site: str
    point: bytes

    def __post_init__(self) -> None:
        x, y = int.from_bytes(self.point[:32], "big"), int.from_bytes(self.point[32:], "big")
        on_curve = (y * y - (x * x * x + _A * x + _B)) % _P == 0
        if len(self.point) != _POINT_BYTES or not (x < _P and y < _P and on_curve):
            raise AuditKeyError(f"public key of {self.site}: not a point of the SM2 curve")

    @property
    def key_id(self) -> str:
        """Return the key's fingerprint: the first 8 bytes of SM3 over the point, hex."""
        return compute_sm3(self.point)[:8].hex()


PublicKeys = Mapping[str, PublicKey]
"""Keys by id."""


@dataclass(frozen=True, slots=True)
class Sm2Signer:
    """A private key of one site; never shown by `repr`."""

    public: PublicKey
    secret: int = field(repr=False)

    @property
    def key_id(self) -> str:
        """Return the fingerprint of the public key."""
        return self.public.key_id

    def sign(self, message: bytes) -> bytes:
        """Return r and s, 64 bytes."""
        engine = _engine(self.public, self.secret)
        while True:
            nonce = secrets.randbelow(_N - 1) + 1
            made = engine.sign_with_sm3(message, f"{nonce:064x}")
            if made is not None:  # one nonce in 2**255 gives none
                return bytes.fromhex(made)


def check_signature(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Say whether `signature` is of `message` by `key`."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    if not (0 < r < _N and 0 < s < _N):
        return False
    try:
        return bool(_engine(key).verify_with_sm3(signature.hex(), message))
    except TypeError:  # the engine's word for a sum that is the point at infinity
        return False


def make_signer(site: str, secret: int | None = None) -> Sm2Signer:
    """Return a signer with a fresh key, or that of `secret`, from 1 to n - 2; AuditKeyError otherwise."""
    scalar = secrets.randbelow(_N - 2) + 1 if secret is None else secret
    if not 0 < scalar < _N - 1:
        raise AuditKeyError(f"audit key of {site}: secret out of range, needs 1 to n - 2")
    bare = sm2.CryptSM2(private_key="", public_key="")
    point = bare._kg(scalar, sm2.default_ecc_table["g"])
    return Sm2Signer(PublicKey(site, bytes.fromhex(point)), scalar)


def _engine(key: PublicKey, secret: int | None = None) -> sm2.CryptSM2:
    made = sm2.CryptSM2(private_key="" if secret is None else f"{secret:064x}", public_key="")
    made.public_key = key.point.hex()  # the constructor strips leading zeros and fours of it
    return made


def render_signer(signer: Sm2Signer) -> str:
    """Return the text of a private key's file."""
    return json.dumps({"site": signer.public.site, "secret": f"{signer.secret:064x}"}) + "\n"


def read_signer(path: Path) -> Sm2Signer:
    """Read a private key's file; AuditKeyError when absent, readable by others, or malformed."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode & 0o777, file.read()
    except OSError as error:
        raise AuditKeyError(f"{path}: cannot be read ({error.strerror}); `biyi stand up` makes it") from error
    if mode & 0o077:
        raise AuditKeyError(f"{path}: mode {mode:04o} lets others in; needs 0600 (chmod 600)")
    try:
        plain = json.loads(content)
        site, secret = str(plain["site"]), int(plain["secret"], 16)
    except (ValueError, KeyError, TypeError):
        # The parser's own message quotes the text, and the text is the key.
        raise AuditKeyError(f"{path}: needs fields site and secret (64 hex digits)") from None
    return make_signer(site, secret)


def render_public_keys(keys: PublicKeys) -> dict[str, dict[str, str]]:
    """Return public keys as plain values: id to site and point."""
    return {key_id: {"site": key.site, "point": key.point.hex()} for key_id, key in keys.items()}


def read_public_keys(path: Path) -> PublicKeys:
    """Read a list of public keys; AuditKeyError when absent or malformed."""
    try:
        plain = json.loads(path.read_bytes())
    except OSError as error:
        raise AuditKeyError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise AuditKeyError(f"{path}: not JSON ({error})") from error
    return parse_public_keys(plain, str(path))


def parse_public_keys(plain: object, where: str) -> PublicKeys:
    """Return keys from plain values; AuditKeyError names `where` and the key."""
    made = {}
    try:
        for key_id, one in dict(plain).items():  # type: ignore[call-overload]
            key = PublicKey(str(one["site"]), bytes.fromhex(one["point"]))
            if key.key_id != key_id:
                raise AuditKeyError(f"{where}: {key_id}: the fingerprint of that point is {key.key_id}")
            made[key_id] = key
    except (ValueError, KeyError, TypeError) as error:
        raise AuditKeyError(f"{where}: needs id: site and point (128 hex digits) ({error})") from error
    return made
