"""A root in a PKCS#11 token (SoftHSM2, or a hardware module): it wraps by AES-GCM inside the token.

The key is made in the token, sensitive and not extractable. SoftHSM 2.6 and PKCS#11 3.0 know no SM4:
AES is named in the label, so that evidence does not claim an SM algorithm (research/compliance.md 2.4).
"""

import secrets

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, PKCS11Error
from pkcs11.exceptions import NoSuchKey

from compliance.protection.errors import RootUnavailable
from compliance.protection.fields import NONCE_BYTES

_KEY_BITS = 256
_TAG_BITS = 128


class Pkcs11Root:
    """One key of one token; a session is opened for each use and closed again."""

    def __init__(self, library: str, token: str, key: str, pin: str) -> None:
        self._key, self._pin = key, pin
        self.label = f"pkcs11 token {token} key {key} (AES-{_KEY_BITS}-GCM)"
        try:
            self._token = pkcs11.lib(library).get_token(token_label=token)
        except (PKCS11Error, RuntimeError, OSError) as error:
            raise RootUnavailable(f"{self.label}: {library} gives no such token ({_name(error)})") from None

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._run("encrypt", nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key; RootUnavailable when the token refuses it."""
        return self._run("decrypt", wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)

    def ensure_key(self) -> bool:
        """Make the root in the token unless it is there; say whether it was made. A root operation."""
        try:
            with self._token.open(rw=True, user_pin=self._pin) as session:
                try:
                    session.get_key(key_type=KeyType.AES, label=self._key)
                except NoSuchKey:
                    session.generate_key(
                        KeyType.AES,
                        _KEY_BITS,
                        label=self._key,
                        store=True,
                        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
                    )
                    return True
        except PKCS11Error as error:
            raise RootUnavailable(f"{self.label}: no key could be made ({_name(error)})") from None
        return False

    def _run(self, operation: str, nonce: bytes, data: bytes, context: bytes) -> bytes:
        params = GCMParams(nonce=nonce, aad=context, tag_bits=_TAG_BITS)
        try:
            with self._token.open(user_pin=self._pin) as session:
                key = session.get_key(key_type=KeyType.AES, label=self._key)
                done = getattr(key, operation)(data, mechanism=Mechanism.AES_GCM, mechanism_param=params)
        except PKCS11Error as error:
            # The token's own text may quote what it was given; its kind is enough.
            raise RootUnavailable(f"{self.label}: {operation} refused ({_name(error)})") from None
        return bytes(done)


def _name(error: Exception) -> str:
    return type(error).__name__
