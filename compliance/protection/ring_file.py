"""The files of one site's key ring: `ring.json`, and beside it the wrapped key-encryption key (KEK).

    ring.json       {"format", "site", "generation", "root", "kek", "signer", "holders", "states", "sealed"}
    kek-<id>.json   {"wrapped": hex}                              (wrapped by the root, bound to site and id)

Every change is a new generation under a new KEK, and ends by overwriting and removing the file of the KEK
before: a copy of an earlier ring.json opens nothing any more, which is what destroys a key. What the file
system keeps of removed files (snapshots, flash) is beyond this: a root in a device is then the remedy.
"""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compliance.protection.errors import RingFileError
from compliance.protection.keys import SM4_KEY_BYTES
from compliance.protection.ring import Ring, plain_version, read_version
from compliance.protection.roots import Root, open_bytes, open_root, seal_bytes
from compliance.protection.sm2 import SigningKey, make_signing_key, private_key_of

FORMAT = "biyi-ring-1"
FILE = "ring.json"
_NEEDED = f"needs a key ring ({FORMAT}): made by `biyi stand up` or `biyi keys init`"


@dataclass(frozen=True, slots=True)
class RingHead:
    """What a ring says in clear: enough for status, nothing to open anything with."""

    site: str
    generation: int
    kek: str
    root: Mapping[str, Any]
    signer: str
    """The site's public SM2 key, hexadecimal: receipts are verified with it."""
    holders: Mapping[str, str]
    """Public keys of those who approve root operations, by name."""
    states: Mapping[str, Mapping[str, str]]


def is_ring(path: Path) -> bool:
    """Say whether a key file is a ring (or a bare root, as tests and older stands have)."""
    return path.name == FILE


def read_head(path: Path) -> RingHead:
    """Return the clear part of a ring; RingFileError when the file is no ring."""
    return _head(path, _read_document(path))


def read_ring(path: Path) -> Ring:
    """Return a site's keys; RingFileError, KeyFileError or RootUnavailable when they do not open.

    A change under way moves the KEK's file away: the ring is then read again.
    """
    for _ in range(3):
        document = _read_document(path)
        try:
            return _open(path, document)
        except FileNotFoundError:
            continue
    raise RingFileError(f"{path}: the key-encryption key it names is not there; {_NEEDED}")


def make_ring(path: Path, ring: Ring, root: Mapping[str, Any]) -> None:
    """Write a new ring under the root described; RingFileError when there is one already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path):
        if path.exists():
            raise RingFileError(f"{path}: there is a key ring already, and data may depend on it")
        _write(path, ring, root)


def change_ring(path: Path, change: Callable[[Ring], Ring]) -> Ring:
    """Apply `change` to a site's ring, durably, in its next generation; return the ring as it stands then.

    What `change` returns unchanged is not written. Commands take turns; readers never see half of it.
    """
    with _locked(path):
        ring = read_ring(path)
        changed = change(ring)
        if changed is ring:
            return ring
        following = replace(changed, generation=ring.generation + 1)
        _write(path, following, read_head(path).root)
        return following


def sweep_old_keks(path: Path) -> Ring:
    """Destroy what a change that was cut off after its new ring left of the old one; return the ring."""
    with _locked(path):
        ring = read_ring(path)
        _destroy_other_keks(path, _kek_path(path, read_head(path).kek))
        return ring


def change_root(path: Path, root: Mapping[str, Any]) -> Ring:
    """Put a site's ring under another root; the old one opens nothing of it afterwards."""
    with _locked(path):
        ring = read_ring(path)
        following = replace(ring, generation=ring.generation + 1)
        _write(path, following, root)
        return following


def _write(path: Path, ring: Ring, root: Mapping[str, Any]) -> None:
    opened: Root = open_root(root, path.parent)
    kek, kek_id = secrets.token_bytes(SM4_KEY_BYTES), secrets.token_hex(8)
    plain = {
        "tables": {table: [plain_version(each) for each in found] for table, found in ring.tables.items()},
        "secrets": {name: secret.hex() for name, secret in ring.secrets.items()},
    }
    states = {table: {str(v): str(s) for v, s in found.items()} for table, found in ring.states().items()}
    signer = site_signing_key(ring).public.hex()
    holders = {name: public.hex() for name, public in ring.holders.items()}
    head = RingHead(ring.site, ring.generation, kek_id, dict(root), signer, holders, states)
    sealed = seal_bytes(kek, json.dumps(plain).encode(), _bound(head))
    wrapped = opened.wrap(kek, _kek_context(head))
    kek_path = _kek_path(path, kek_id)
    write_durably(kek_path, {"wrapped": wrapped.hex()})
    document = {
        "format": FORMAT, "site": head.site, "generation": head.generation, "root": head.root,
        "kek": kek_id, "signer": signer, "holders": holders, "states": states, "sealed": sealed.hex(),
    }  # fmt: skip
    # From the rename on the new ring counts; a crash before leaves the old one whole.
    write_durably(path, document)
    _destroy_other_keks(path, kek_path)


def _open(path: Path, document: Mapping[str, Any]) -> Ring:
    head = _head(path, document)
    wrapped = json.loads(_kek_path(path, head.kek).read_text(encoding="utf-8"))["wrapped"]
    kek = open_root(head.root, path.parent).unwrap(bytes.fromhex(wrapped), _kek_context(head))
    try:
        plain = json.loads(open_bytes(kek, bytes.fromhex(document["sealed"]), _bound(head)))
        tables = {
            table: tuple(read_version(each) for each in found) for table, found in plain["tables"].items()
        }
        known = {name: bytes.fromhex(text) for name, text in plain["secrets"].items()}
    except (ValueError, KeyError, TypeError):
        # The parser's own words could quote a key.
        raise RingFileError(f"{path}: its sealed part does not open, it was changed; {_NEEDED}") from None
    holders = {name: bytes.fromhex(public) for name, public in head.holders.items()}
    return Ring(head.site, head.generation, tables, known, holders)


def site_signing_key(ring: Ring) -> SigningKey:
    """Return the SM2 key that a site signs receipts with."""
    return make_signing_key(private_key_of(ring.secrets["signing"]))


def _head(path: Path, document: Mapping[str, Any]) -> RingHead:
    try:
        return RingHead(
            str(document["site"]),
            int(document["generation"]),
            str(document["kek"]),
            document["root"],
            str(document["signer"]),
            document["holders"],
            document["states"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise RingFileError(f"{path}: field {error} is missing or malformed; {_NEEDED}") from None


def _read_document(path: Path) -> Mapping[str, Any]:
    try:
        mode = path.stat().st_mode
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RingFileError(f"{path}: cannot be read ({error.strerror}); {_NEEDED}") from error
    except ValueError:
        raise RingFileError(f"{path}: not JSON; {_NEEDED}") from None
    if mode & 0o077:
        raise RingFileError(f"{path}: mode {mode & 0o777:04o} lets others in; needs 0600 (chmod 600)")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RingFileError(f"{path}: another format; {_NEEDED}")
    return document


def _bound(head: RingHead) -> bytes:
    """Return what the seal of a ring covers: states shown in clear cannot be changed either."""
    parts = ("ring", head.site, head.generation, head.kek, head.root, head.signer, head.holders, head.states)
    return json.dumps(parts, sort_keys=True).encode()


def _kek_context(head: RingHead) -> bytes:
    return f"kek|{head.site}|{head.kek}".encode()


def _kek_path(path: Path, kek_id: str) -> Path:
    if not kek_id.isalnum():
        raise RingFileError(f"{path}: field kek is no id of ours")
    return path.parent / f"kek-{kek_id}.json"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_durably(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file that only its owner can read, in one piece, and return once it is on disk."""
    aside = path.with_name(f".{path.name}.tmp")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    _sync_directory(path.parent)


def _destroy_other_keks(path: Path, kept: Path) -> None:
    for other in path.parent.glob("kek-*.json"):
        if other != kept:
            _destroy(other)


def _destroy(path: Path) -> None:
    """Overwrite a file in place, then remove it."""
    with path.open("r+b") as file:
        length = os.fstat(file.fileno()).st_size
        file.write(secrets.token_bytes(length))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    _sync_directory(path.parent)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
