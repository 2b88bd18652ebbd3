"""A root in a Chinese cryptographic device or card, through its SDF library (GM/T 0018) by ctypes.

The device keeps the root as the key-encryption key of an index and never shows it. A wrap asks the device
for a session key under that index, encrypts with SM4-CBC, and authenticates with an SM4 CBC-MAC under a
second session key; what is kept is both wrapped session keys, the IV, the ciphertext and the MAC. The
MAC is over blocks of a fixed number, where a CBC-MAC is sound; the context enters as its SM3 digest.
"""

import ctypes
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives import hashes

from compliance.protection.errors import RootUnavailable

SGD_SM4_ECB, SGD_SM4_CBC, SGD_SM4_MAC = 0x401, 0x402, 0x410
"""Algorithm identifiers. Source: GM/T 0006-2012, table of block ciphers (SM4 = 0x400)."""
_BLOCK = 16
_BLOB_MAX = 256
"""Room for a wrapped session key. Source: our choice; devices give 16 to 64 bytes."""
_OK = 0
_Handle = ctypes.c_void_p
_Bytes = ctypes.c_char_p


class SdfRoot:
    """The key-encryption key of one index; device and session are opened for each use."""

    def __init__(self, library: str, key_index: int, pin: str) -> None:
        self._index, self._pin = key_index, pin.encode()
        self.label = f"sdf {library.rsplit('/', 1)[-1]} key index {key_index} (SM4-CBC, SM4-MAC)"
        try:
            self._sdf = ctypes.CDLL(library)
        except OSError:
            raise RootUnavailable(f"{self.label}: the library cannot be loaded") from None

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return two wrapped session keys with their lengths, IV, ciphertext and MAC."""
        if len(key) != _BLOCK:
            raise ValueError(f"key of {len(key)} bytes: needs {_BLOCK}")
        iv = secrets.token_bytes(_BLOCK)
        with self._session() as session:
            blob, sealing = self._new_key(session)
            mac_blob, checking = self._new_key(session)
            ciphertext = self._crypt("SDF_Encrypt", session, sealing, iv, key)
            tag = self._mac(session, checking, _digest(context, blob, mac_blob, iv), iv, ciphertext)
        return _packed(blob) + _packed(mac_blob) + iv + ciphertext + tag

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key; RootUnavailable when it was changed, or the device does not know it."""
        blob, rest = _unpacked(wrapped, self.label)
        mac_blob, rest = _unpacked(rest, self.label)
        if len(rest) != 3 * _BLOCK:
            raise RootUnavailable(f"{self.label}: the wrapped key has another length")
        iv, ciphertext, tag = rest[:_BLOCK], rest[_BLOCK : 2 * _BLOCK], rest[2 * _BLOCK :]
        with self._session() as session:
            checking = self._import(session, mac_blob)
            found = self._mac(session, checking, _digest(context, blob, mac_blob, iv), iv, ciphertext)
            if not hmac.compare_digest(found, tag):
                raise RootUnavailable(f"{self.label}: the wrapped key is not of this root and ring")
            return self._crypt("SDF_Decrypt", session, self._import(session, blob), iv, ciphertext)

    @contextmanager
    def _session(self) -> Iterator[_Handle]:
        device, session = _Handle(), _Handle()
        self._do("SDF_OpenDevice", ctypes.byref(device))
        try:
            self._do("SDF_OpenSession", device, ctypes.byref(session))
            try:
                pin = (_Bytes(self._pin), ctypes.c_uint(len(self._pin)))
                self._do("SDF_GetPrivateKeyAccessRight", session, ctypes.c_uint(self._index), *pin)
                yield session
            finally:
                self._sdf.SDF_CloseSession(session)
        finally:
            self._sdf.SDF_CloseDevice(device)

    def _new_key(self, session: _Handle) -> tuple[bytes, _Handle]:
        blob, length, handle = ctypes.create_string_buffer(_BLOB_MAX), ctypes.c_uint(_BLOB_MAX), _Handle()
        self._do(
            "SDF_GenerateKeyWithKEK", session, ctypes.c_uint(8 * _BLOCK), ctypes.c_uint(SGD_SM4_ECB),
            ctypes.c_uint(self._index), blob, ctypes.byref(length), ctypes.byref(handle),
        )  # fmt: skip
        return blob.raw[: length.value], handle

    def _import(self, session: _Handle, blob: bytes) -> _Handle:
        handle = _Handle()
        self._do(
            "SDF_ImportKeyWithKEK", session, ctypes.c_uint(SGD_SM4_ECB), ctypes.c_uint(self._index),
            _Bytes(blob), ctypes.c_uint(len(blob)), ctypes.byref(handle),
        )  # fmt: skip
        return handle

    def _crypt(self, name: str, session: _Handle, key: _Handle, iv: bytes, data: bytes) -> bytes:
        # The device writes the next IV into the buffer it is given.
        out, length = ctypes.create_string_buffer(_BLOCK), ctypes.c_uint(_BLOCK)
        chain = ctypes.create_string_buffer(iv, _BLOCK)
        self._do(
            name, session, key, ctypes.c_uint(SGD_SM4_CBC), chain,
            _Bytes(data), ctypes.c_uint(len(data)), out, ctypes.byref(length),
        )  # fmt: skip
        return out.raw[: length.value]

    def _mac(self, session: _Handle, key: _Handle, digest: bytes, iv: bytes, ciphertext: bytes) -> bytes:
        message = digest + iv + ciphertext
        out, length = ctypes.create_string_buffer(_BLOCK), ctypes.c_uint(_BLOCK)
        zero = ctypes.create_string_buffer(bytes(_BLOCK), _BLOCK)
        self._do(
            "SDF_CalculateMAC", session, key, ctypes.c_uint(SGD_SM4_MAC), zero,
            _Bytes(message), ctypes.c_uint(len(message)), out, ctypes.byref(length),
        )  # fmt: skip
        return out.raw[: length.value]

    def _do(self, name: str, *arguments: object) -> None:
        code = int(getattr(self._sdf, name)(*arguments)) & 0xFFFFFFFF
        if code != _OK:
            raise RootUnavailable(f"{self.label}: {name} answered 0x{code:08x}")


def _digest(*parts: bytes) -> bytes:
    digest = hashes.Hash(hashes.SM3())
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.finalize()


def _packed(blob: bytes) -> bytes:
    return len(blob).to_bytes(2, "big") + blob


def _unpacked(text: bytes, label: str) -> tuple[bytes, bytes]:
    length = int.from_bytes(text[:2], "big")
    if len(text) < 2 + length or not 0 < length <= _BLOB_MAX:
        raise RootUnavailable(f"{label}: the wrapped key is cut off")
    return text[2 : 2 + length], text[2 + length :]
