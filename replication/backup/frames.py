"""The sealed form of a file: a header, then SM4-GCM frames in order, the last one marked. Pure.

Header: magic | 2 bytes key version | 32 bytes salt. Frame: 4 bytes length of the clear text | 1 byte
final (0 or 1) | ciphertext | 16 bytes tag. Each file has a key of its own (HKDF-SM3 over salt and
context), so the frame's number is a nonce that never repeats: nobody may write two different frames
under one number, which is why an interrupted file is written anew and never appended to. The tag also
covers the context (cell, system identifier, file name), the number and the final mark: a frame that
was changed, moved, repeated or left out does not open, and a file without a final frame is cut.
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from replication.backup.errors import ArchiveBroken

MAGIC = b"BIYIBAK1"
SALT_BYTES = 32
HEADER_BYTES = len(MAGIC) + 2 + SALT_BYTES
HEAD_BYTES = 5
TAG_BYTES = 16
LONGEST_FRAME = 1 << 20
"""Clear bytes in a frame at most. Source: our choice; what a reader holds before it trusts any of it."""


@dataclass(frozen=True, slots=True)
class BackupKey:
    """The secret all file keys are derived from, and the version that headers name."""

    version: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileSeal:
    """Key and context of one sealed file."""

    key: bytes = field(repr=False)
    context: bytes


def make_header(key: BackupKey, salt: bytes) -> bytes:
    """Return a file's header; `salt` must be fresh random bytes for every file."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"salt: {len(salt)} bytes, needs {SALT_BYTES}")
    return MAGIC + key.version.to_bytes(2, "big") + salt


def open_header(key: BackupKey, header: bytes, context: str) -> FileSeal:
    """Return the seal of the file with this header and context; ArchiveBroken for a foreign header."""
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
        raise ArchiveBroken(f"{context}: does not begin like a sealed file")
    version = int.from_bytes(header[len(MAGIC) : len(MAGIC) + 2], "big")
    if version != key.version:
        raise ArchiveBroken(f"{context}: sealed with key version {version}, held is {key.version}")
    derivation = HKDF(hashes.SM3(), length=16, salt=header[-SALT_BYTES:], info=header + context.encode())
    return FileSeal(derivation.derive(key.secret), context.encode())


def seal_frame(seal: FileSeal, number: int, clear: bytes, *, final: bool) -> bytes:
    """Return frame `number` (from 0) of a file."""
    if len(clear) > LONGEST_FRAME:
        raise ValueError(f"frame of {len(clear)} bytes, at most {LONGEST_FRAME}")
    head = len(clear).to_bytes(4, "big") + bytes([final])
    encryptor = Cipher(algorithms.SM4(seal.key), modes.GCM(number.to_bytes(12, "big"))).encryptor()
    encryptor.authenticate_additional_data(_bound(seal, number, head))
    return head + encryptor.update(clear) + encryptor.finalize() + encryptor.tag


def body_length(seal: FileSeal, head: bytes) -> int:
    """Return how many bytes follow a frame's head; ArchiveBroken when the head cannot be one."""
    length = int.from_bytes(head[:4], "big")
    if length > LONGEST_FRAME or head[4] > 1:
        raise ArchiveBroken(f"{seal.context.decode()}: a frame's head is damaged")
    return length + TAG_BYTES


def open_frame(seal: FileSeal, number: int, head: bytes, body: bytes) -> bytes:
    """Return the clear text of frame `number`, in one shot, after its tag was checked."""
    nonce, tag = number.to_bytes(12, "big"), body[-TAG_BYTES:]
    decryptor = Cipher(algorithms.SM4(seal.key), modes.GCM(nonce, tag)).decryptor()
    decryptor.authenticate_additional_data(_bound(seal, number, head))
    try:
        # The engine hands out bytes before it has checked the tag: they leave here only after.
        return decryptor.update(body[:-TAG_BYTES]) + decryptor.finalize()
    except InvalidTag:
        raise ArchiveBroken(f"{seal.context.decode()}: frame {number} was changed or moved") from None


def _bound(seal: FileSeal, number: int, head: bytes) -> bytes:
    return seal.context + b"|" + number.to_bytes(8, "big") + head
