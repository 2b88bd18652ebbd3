"""Read and make the key file of the stand: {"version": 1, "root": "<64 hex digits>"}, mode 0600.

The file backend is for the embedded stand; PKCS#11, SDF and cloud KMS come as further backends
that give the same `RootKey`. The file is refused when anyone but its owner could read it.
"""

import json
import os
import secrets
import stat
from pathlib import Path

from compliance.protection.errors import KeyFileError
from compliance.protection.keys import ROOT_BYTES, RootKey


def read_key_file(path: Path) -> RootKey:
    """Return the root key in `path`; KeyFileError when absent, readable by others, or malformed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be opened ({error.strerror}); needs a key file") from error
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise KeyFileError(f"{path}: mode {mode:04o} lets others in; needs 0600 (chmod 600)")
        content = file.read()
    return _parse(path, content)


def _parse(path: Path, content: bytes) -> RootKey:
    needed = 'needs {"version": <1 to 65535>, "root": "<64 hex digits>"}'
    try:
        document = json.loads(content)
    except ValueError:
        # The parser's own message quotes the text, and the text is the key.
        raise KeyFileError(f"{path}: not JSON; {needed}") from None
    if not isinstance(document, dict) or set(document) != {"version", "root"}:
        raise KeyFileError(f"{path}: other fields than version and root; {needed}")
    version, root = document["version"], document["root"]
    if type(version) is not int or not 1 <= version <= 0xFFFF:
        raise KeyFileError(f"{path}: field version is not an integer from 1 to 65535; {needed}")
    if not isinstance(root, str) or len(root) != 2 * ROOT_BYTES:
        raise KeyFileError(f"{path}: field root is not a text of {2 * ROOT_BYTES} digits; {needed}")
    try:
        secret = bytes.fromhex(root)
    except ValueError:
        raise KeyFileError(f"{path}: field root is not hexadecimal; {needed}") from None
    if len(secret) != ROOT_BYTES:
        raise KeyFileError(f"{path}: field root is not hexadecimal; {needed}")
    return RootKey(version, secret)


def ensure_key_file(path: Path) -> None:
    """Make a key file with a fresh root unless one is there; an existing file is never touched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        json.dump({"version": 1, "root": secrets.token_hex(ROOT_BYTES)}, file)
        file.flush()
        os.fsync(file.fileno())
