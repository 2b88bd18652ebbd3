"""Writing and reading sealed files on disk."""

import json
import os
import secrets
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes

from compliance.protection.index import compute_hmac_sm3
from compliance.protection.vault import open_secret
from replication.backup.errors import ArchiveBroken
from replication.backup.frames import (
    HEAD_BYTES,
    HEADER_BYTES,
    SALT_BYTES,
    BackupKey,
    body_length,
    make_header,
    open_frame,
    open_header,
    seal_frame,
)
from replication.postgres.copy import sync_directory

FRAME_BYTES = 128 << 10
"""Clear bytes in the frames we write. Source: our choice; GCM costs 21 bytes a frame, 0.02 %."""

KEY_VERSION = 1
"""Version of the backup key that files name. Source: our choice; a ring has had one backup key so far."""


def open_backup_key(key_file: Path) -> BackupKey:
    """Test the engines, read the site's keys, take that of backups."""
    return BackupKey(KEY_VERSION, open_secret(key_file, "backup"))


class SealedWriter:
    """Writes one sealed file from its beginning; a file that exists is refused.

    Nothing is on disk for certain before `cut(durable=True)` or `finish` returned.
    """

    def __init__(self, path: Path, key: BackupKey, context: str) -> None:
        header = make_header(key, secrets.token_bytes(SALT_BYTES))
        self._seal = open_header(key, header, context)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        self._digest = hashes.Hash(hashes.SM3())
        self._pending = bytearray()
        self._number = 0
        self.clear_bytes = 0
        self._put(header)

    def write(self, clear: bytes) -> None:
        """Take bytes; whole frames go to the file at once, the rest waits for `cut` or `finish`."""
        self._pending += clear
        self.clear_bytes += len(clear)
        while len(self._pending) >= FRAME_BYTES:
            self._frame(bytes(self._pending[:FRAME_BYTES]), final=False)
            del self._pending[:FRAME_BYTES]

    def cut(self, *, durable: bool) -> None:
        """Put what waits into a frame of its own, so that a reader of the unfinished file finds it."""
        if self._pending:
            self._frame(bytes(self._pending), final=False)
            self._pending.clear()
        if durable:
            os.fsync(self._file.fileno())

    def finish(self) -> str:
        """Write the final frame and put the file on disk; return the SM3 of its sealed bytes (hex)."""
        self._frame(bytes(self._pending), final=True)
        self._pending.clear()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.finalize().hex()

    def abandon(self) -> None:
        """Close the file as it is: it has no final frame and never counts as whole."""
        self._file.close()

    def _frame(self, clear: bytes, *, final: bool) -> None:
        self._put(seal_frame(self._seal, self._number, clear, final=final))
        self._number += 1

    def _put(self, sealed: bytes) -> None:
        view = memoryview(sealed)
        while view:
            view = view[self._file.write(view) or 0 :]
        self._digest.update(sealed)


def read_sealed(path: Path, key: BackupKey, context: str, *, unfinished: bool = False) -> Iterator[bytes]:
    """Yield the clear frames of a file, each after its tag was checked; ArchiveBroken otherwise.

    The file is whole only if the iterator ends by itself. With `unfinished` a file that is still being
    written gives its whole frames: a torn last one is where it ends.
    """
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if unfinished and len(header) < HEADER_BYTES:
            return
        seal = open_header(key, header, context)
        number = 0
        while len(head := file.read(HEAD_BYTES)) == HEAD_BYTES:
            length = body_length(seal, head)
            body = file.read(length)
            if len(body) < length:
                break
            yield open_frame(seal, number, head, body)
            number += 1
            if head[4]:
                if file.read(1):
                    raise ArchiveBroken(f"{context}: something follows the final frame")
                return
    if not unfinished:
        raise ArchiveBroken(f"{context}: cut off after frame {number}, the final one is missing")


class SealedStream(RawIOBase):
    """The clear text of a sealed file as a stream to read from, for tarfile."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self._frames = frames
        self._rest = b""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill `target` with what is there, at most one frame."""
        while not self._rest:
            frame = next(self._frames, None)
            if frame is None:
                return 0
            self._rest = frame
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def file_sm3(path: Path) -> str:
    """Return the SM3 of a file's bytes as hex."""
    digest = hashes.Hash(hashes.SM3())
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.finalize().hex()


def write_note(path: Path, key: BackupKey, context: str, plain: dict[str, Any], *, durable: bool) -> None:
    """Write a small JSON document with its HMAC-SM3, in one piece; it holds no customer data."""
    text = json.dumps(plain, sort_keys=True)
    tag = compute_hmac_sm3(key.secret, f"{context}|{text}".encode()).hex()
    aside = path.with_name(f".{path.name}.tmp")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"note": plain, "hmac_sm3": tag}, file, sort_keys=True, indent=1)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    aside.replace(path)
    if durable:
        sync_directory(path.parent)


def read_note(path: Path, key: BackupKey, context: str) -> dict[str, Any]:
    """Return a document written by `write_note`; ArchiveBroken when it is not as it was written."""
    try:
        document = json.loads(path.read_text())
        plain: dict[str, Any] = document["note"]
        text = json.dumps(plain, sort_keys=True)
        right = compute_hmac_sm3(key.secret, f"{context}|{text}".encode()).hex() == document["hmac_sm3"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveBroken(f"{path}: not a readable note ({type(error).__name__})") from error
    if not right:
        raise ArchiveBroken(f"{path}: the note was changed, or belongs elsewhere, or to another key")
    return plain
