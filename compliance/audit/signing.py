"""Keys and signatures of checkpoints and exports: SM2 over `compliance.protection.sm2`."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from compliance.audit.digest import compute_sm3
from compliance.audit.errors import AuditKeyError
from compliance.protection.sm2 import (
    SCALAR_BYTES,
    SignatureRefused,
    SigningKey,
    is_public_key,
    is_signed,
    make_signing_key,
    private_key_of,
)


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
        if not is_public_key(self.point):
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
    key: SigningKey = field(repr=False)

    @property
    def key_id(self) -> str:
        """Return the fingerprint of the public key."""
        return self.public.key_id

    def sign(self, message: bytes) -> bytes:
        """Return r and s, 64 bytes."""
        while True:
            try:
                return self.key.sign(message, secrets.token_bytes(SCALAR_BYTES))
            except SignatureRefused:  # one nonce in 2**32 is no scalar of the curve
                continue


def check_signature(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Say whether `signature` is of `message` by `key`."""
    return is_signed(key.point, message, signature)


def make_signer(site: str, secret: bytes | None = None) -> Sm2Signer:
    """Return a signer with a fresh key, or that of 32 bytes; AuditKeyError when they are no private key."""
    try:
        key = make_signing_key(
            private_key_of(secrets.token_bytes(SCALAR_BYTES)) if secret is None else secret
        )
    except SignatureRefused as error:
        raise AuditKeyError(f"audit key of {site}: {error}") from None
    return Sm2Signer(PublicKey(site, key.public), key)


def render_signer(signer: Sm2Signer) -> str:
    """Return the text of a private key's file."""
    return json.dumps({"site": signer.public.site, "secret": signer.key.private.hex()}) + "\n"


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
        site, secret = str(plain["site"]), bytes.fromhex(plain["secret"])
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
