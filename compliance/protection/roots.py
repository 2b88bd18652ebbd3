"""The root key, wherever it lives: it wraps a site's key-encryption key and never does anything else.

Four backends behind one Protocol: `file` (this module; the embedded stand), `pkcs11`, `sdf` (GM/T 0018)
and `aliyun-kms`. A ring names its root in clear: {"kind": ..., and what that kind needs}; a secret (a
PIN, an access key) is never written there but in a file of its own, mode 0600.
"""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from compliance.protection.errors import RingFileError, RootUnavailable
from compliance.protection.fields import NONCE_BYTES, TAG_BYTES
from compliance.protection.key_file import read_key_file
from compliance.protection.keys import SM4_KEY_BYTES, RootKey, derive_key


class Root(Protocol):
    """A root key that is used where it lies."""

    @property
    def label(self) -> str:
        """Return what evidence calls it: kind, algorithm, and which key, without any secret."""

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return `key` (16 bytes) wrapped and bound to `context`; RootUnavailable when it cannot."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key; RootUnavailable when it was changed, is of another context or of another root."""


class FileRoot:
    """A root in a file of mode 0600: for the stand, where the machine itself is the trust."""

    def __init__(self, root: RootKey, name: str) -> None:
        self._key = derive_key(root, "wrap|kek", SM4_KEY_BYTES)
        self.label = f"file {name} (SM4-GCM)"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag."""
        return seal_bytes(self._key, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key; RootUnavailable when the tag does not match."""
        try:
            return open_bytes(self._key, wrapped, context)
        except ValueError:
            raise RootUnavailable(f"{self.label}: the wrapped key is not of this root and ring") from None


def seal_bytes(key: bytes, plain: bytes, context: bytes) -> bytes:
    """Return a fresh nonce, the SM4-GCM ciphertext of `plain`, and the tag over it and `context`."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    encryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(context)
    return nonce + encryptor.update(plain) + encryptor.finalize() + encryptor.tag


def open_bytes(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Return what `seal_bytes` sealed; ValueError when it or its context was changed."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise ValueError(f"{len(sealed)} bytes: too short to be sealed")
    decryptor = Cipher(algorithms.SM4(key), modes.GCM(sealed[:NONCE_BYTES], sealed[-TAG_BYTES:])).decryptor()
    decryptor.authenticate_additional_data(context)
    try:
        return decryptor.update(sealed[NONCE_BYTES:-TAG_BYTES]) + decryptor.finalize()
    except InvalidTag:
        raise ValueError("the tag does not match") from None


def open_root(config: Mapping[str, Any], folder: Path) -> Root:
    """Return the root that a ring names; relative paths are meant from `folder`.

    RingFileError when the description is not one of a known kind, KeyFileError or RootUnavailable when the
    root cannot be reached.
    """
    kind = str(config.get("kind"))
    if kind not in _KINDS:
        raise RingFileError(f"root: kind {kind} is not known; needs one of {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](config, folder)
    except KeyError as missing:
        raise RingFileError(f"root of kind {kind}: needs the field {missing}") from None


def _open_file(config: Mapping[str, Any], folder: Path) -> Root:
    path = folder / config["file"]
    return FileRoot(read_key_file(path), path.name)


def _open_pkcs11(config: Mapping[str, Any], folder: Path) -> Root:
    from compliance.protection.root_pkcs11 import Pkcs11Root  # the wheel is an extra: biyi[hsm]

    pin = read_private_text(folder / config["pin_file"])
    return Pkcs11Root(config["library"], config["token"], config["key"], pin)


def _open_sdf(config: Mapping[str, Any], folder: Path) -> Root:
    from compliance.protection.root_sdf import SdfRoot  # loads a vendor's library

    return SdfRoot(
        config["library"], int(config["key_index"]), read_private_text(folder / config["pin_file"])
    )


def _open_aliyun(config: Mapping[str, Any], folder: Path) -> Root:
    from compliance.protection.root_kms import KmsRoot, open_aliyun

    credentials = read_private_text(folder / config["credentials_file"])
    return KmsRoot(open_aliyun(config["endpoint"], credentials), config["key_id"])


_KINDS: Mapping[str, Callable[[Mapping[str, Any], Path], Root]] = {
    "file": _open_file,
    "pkcs11": _open_pkcs11,
    "sdf": _open_sdf,
    "aliyun-kms": _open_aliyun,
}


def read_private_text(path: Path) -> str:
    """Return the one line of a secret's file; RingFileError when absent, or others may read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise RingFileError(f"{path}: cannot be read ({error.strerror})") from error
    if mode & 0o077:
        raise RingFileError(f"{path}: mode {mode & 0o777:04o} lets others in; needs 0600 (chmod 600)")
    return text
