"""Whoever keeps one site's key ring, and what can be asked of it.

A rotation asks the keepers of both sites, each at its own site; a new version travels sealed under the
exchange key that both rings hold. Root operations are asked for with approvals, which every keeper checks
by itself against the holders in its own ring: no site trusts another's word that they were given.
"""

import datetime as dt
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes

from compliance.protection import ring as rings
from compliance.protection.approvals import (
    Approval,
    Operation,
    Request,
    check_approvals,
    check_generation,
)
from compliance.protection.errors import ApprovalRefused, RingRefused
from compliance.protection.fields import PROTECTED_COLUMNS
from compliance.protection.receipt import Destroyed, sign_receipt
from compliance.protection.ring_file import (
    RingHead,
    change_ring,
    change_root,
    read_head,
    read_ring,
    site_signing_key,
    sweep_old_keks,
    write_durably,
)
from compliance.protection.roots import open_bytes, seal_bytes
from compliance.protection.sm2 import is_public_key

BEGUN = "shredding.json"
"""Beside the ring: the last shredding that began, and the key-encryption key that it destroys. No secret."""


class RingKeeper(Protocol):
    """One site's ring as others may use it."""

    def head(self) -> RingHead:
        """Return what the ring says in clear."""

    def grow(self, table: str) -> int:
        """Make a fresh version, decrypt-only, unless one has arrived that is not primary yet; return it."""

    def send(self, table: str, version: int) -> bytes:
        """Return a version sealed for the other site."""

    def receive(self, table: str, sealed: bytes) -> int:
        """Take a version that the other site sent, decrypt-only; returns once it is durable."""

    def promote(self, table: str, version: int) -> None:
        """Seal with `version` from now on."""

    def retire(self, table: str, version: int) -> None:
        """Open nothing with `version` any more."""

    def carry_out(
        self, request: Request, approvals: Sequence[Approval], now: dt.datetime
    ) -> dict[str, Any] | None:
        """Do a root operation; ApprovalRefused without two valid approvals. A shredding gives its receipt."""


class LocalKeeper:
    """The keeper of a ring in a directory of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def head(self) -> RingHead:
        """Return what the ring says in clear."""
        return read_head(self.path)

    def grow(self, table: str) -> int:
        """Make a fresh version unless one waits; RingRefused for a table whose rows hold no sealed value."""
        columns = [column for column in PROTECTED_COLUMNS if column.table == table]
        if not any(column.sealed for column in columns):
            raise RingRefused(
                f"{table}: only indexes are stored, which cannot be computed anew; it is not rotated"
            )
        indexed = [column.name for column in columns if column.indexed]

        def change(ring: rings.Ring) -> rings.Ring:
            if any(each.state is rings.State.ARRIVED for each in ring.tables[table]):
                return ring
            newest = max(each.version for each in ring.tables[table])
            return rings.add_version(
                ring, table, rings.grow_version(newest + 1, indexed, secrets.token_bytes)
            )

        return max(each.version for each in change_ring(self.path, change).tables[table])

    def send(self, table: str, version: int) -> bytes:
        """Return the version sealed under the exchange key and bound to table and version."""
        ring = read_ring(self.path)
        found = ring.version(table, version)
        if found is None:
            raise RingRefused(f"ring of {ring.site}: no version {version} of {table}")
        plain = json.dumps(rings.plain_version(found)).encode()
        return seal_bytes(ring.secrets["exchange"], plain, f"exchange|{table}".encode())

    def receive(self, table: str, sealed: bytes) -> int:
        """Take a version; RingRefused when it was not sealed by the other site for this table."""
        arrived: list[int] = []

        def change(ring: rings.Ring) -> rings.Ring:
            try:
                plain = open_bytes(ring.secrets["exchange"], sealed, f"exchange|{table}".encode())
            except ValueError:
                raise RingRefused(f"ring of {ring.site}: what arrived was not sealed for {table}") from None
            version = rings.read_version(json.loads(plain))
            arrived.append(version.version)
            return rings.add_version(ring, table, version)

        change_ring(self.path, change)
        return arrived[-1]

    def promote(self, table: str, version: int) -> None:
        """Seal with `version` from now on."""
        change_ring(self.path, lambda ring: rings.promote(ring, table, version))

    def retire(self, table: str, version: int) -> None:
        """Open nothing with `version` any more."""
        change_ring(self.path, lambda ring: rings.retire(ring, table, version))

    def carry_out(
        self, request: Request, approvals: Sequence[Approval], now: dt.datetime
    ) -> dict[str, Any] | None:
        """Check the approvals against this ring's own holders, then do what was approved, once."""
        head = self.head()
        holders = {name: bytes.fromhex(public) for name, public in head.holders.items()}
        first = request.operation is Operation.HOLDERS and not holders
        approved_by = () if first else check_approvals(request, approvals, holders, now)
        if request.operation is Operation.SHRED:
            return self._shred(request, approved_by, now)
        check_generation(request, head.site, head.generation)
        if request.operation is Operation.CHANGE_ROOT:
            change_root(self.path, json.loads(request.about[head.site]))
            return None
        change_ring(self.path, lambda ring: _changed(ring, request))
        return None

    def _shred(self, request: Request, approved_by: Sequence[str], now: dt.datetime) -> dict[str, Any]:
        """Shred and return the receipt; what was cut off before its receipt is gone on with, not refused.

        The key that dies is written down first: of an old ring that may survive the cut nothing opens then.
        """
        head, about = self.head(), request.about
        digest = hashes.Hash(hashes.SM3())
        digest.update(request.text())
        request_sm3 = digest.finalize().hex()
        begun = self.path.with_name(BEGUN)
        dying = _read_begun(begun, request_sm3)
        following = head.generation - 1 == request.generations.get(head.site)
        if dying and following and not _holds(self.path, about):
            ring = sweep_old_keks(self.path)
        else:
            check_generation(request, head.site, head.generation)
            dying = head.kek, now
            write_durably(begun, {"request_sm3": request_sm3, "kek": head.kek, "at": now.isoformat()})
            ring = change_ring(self.path, lambda ring: _changed(ring, request))
        done = Destroyed(head.site, about["subject"], ring.generation, *dying)
        return sign_receipt(done, request_sm3, approved_by, site_signing_key(ring), secrets.token_bytes(32))


def _holds(path: Path, about: Mapping[str, str]) -> bool:
    return rings.holds_subject(read_ring(path), about["table"], about["subject"])


def _read_begun(path: Path, request_sm3: str) -> tuple[str, dt.datetime] | None:
    """Return which key the shredding of this very request set out to destroy, and when; None: none began."""
    try:
        begun = json.loads(path.read_text())
        found = str(begun["kek"]), dt.datetime.fromisoformat(begun["at"])
        return found if begun["request_sm3"] == request_sm3 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _changed(ring: rings.Ring, request: Request) -> rings.Ring:
    about = request.about
    match request.operation:
        case Operation.SHRED:
            return rings.shred(ring, about["table"], about["subject"])
        case Operation.DESTROY:
            return rings.destroy(ring, about["table"], int(about["version"]))
        case Operation.REOPEN:
            return rings.reopen(ring, about["table"], int(about["version"]))
        case Operation.HOLDERS:
            return rings.set_holders(ring, _holders_of(about))
        case _:
            raise ApprovalRefused(f"{request.operation}: not a change of the ring")


def _holders_of(about: Mapping[str, str]) -> dict[str, bytes]:
    """Return names and public keys; ApprovalRefused for fewer than two different keys or no SM2 key."""
    try:
        holders = {name: bytes.fromhex(public) for name, public in about.items()}
    except ValueError:
        raise ApprovalRefused("holders: a public key is not hexadecimal") from None
    wrong = [name for name, public in holders.items() if not is_public_key(public)]
    if wrong or len(set(holders.values())) < 2:
        raise ApprovalRefused(
            f"holders: {len(holders)} given, no SM2 key: {', '.join(wrong) or 'none'}; needs two or more, "
            "each with a key of its own"
        )
    return holders
