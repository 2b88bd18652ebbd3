"""The receipt of a shredding: what one site destroyed, when, by whose approval, signed with SM2. Pure."""

import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compliance.protection.sm2 import SigningKey, is_signed

FORMAT = "biyi-shred-receipt-1"
REMAINS = (
    "sealed values that nobody can open; ids, amounts and dates of loans for as long as the law asks; keyed "
    "indexes of device evidence until they fall out of their table"
)


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What one site did: which key-encryption key died with the old ring, and the ring's generation now."""

    site: str
    subject: str
    generation: int
    dead_kek: str
    at: dt.datetime


def sign_receipt(
    done: Destroyed, request_sm3: str, holders: Sequence[str], key: SigningKey, nonce: bytes
) -> dict[str, Any]:
    """Return the receipt as JSON can hold it; `nonce` is 32 fresh secret bytes."""
    body = {
        "format": FORMAT,
        "site": done.site,
        "customer_id": done.subject,
        "generation": done.generation,
        "destroyed_kek": done.dead_kek,
        "at": done.at.isoformat(),
        "request_sm3": request_sm3,
        "approved_by": list(holders),
        "remains": REMAINS,
        "signer": key.public.hex(),
    }
    return {**body, "signature": key.sign(_text(body), nonce).hex()}


def is_genuine(receipt: Mapping[str, Any], signers: Mapping[str, bytes]) -> bool:
    """Say whether a receipt was signed by the site it names and was not changed since.

    `signers` are the sites' public keys as the verifier knows them, not as the receipt says.
    """
    public = signers.get(str(receipt.get("site")))
    body = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        signature = bytes.fromhex(str(receipt.get("signature")))
    except ValueError:
        return False
    return (
        public is not None and receipt.get("format") == FORMAT and is_signed(public, _text(body), signature)
    )


def find_sites_without(receipts: Sequence[Mapping[str, Any]], sites: Collection[str]) -> dict[str, list[str]]:
    """Return the sites of which no receipt is there, by customer: one site's word is not the other's.

    `receipts` are genuine ones. Those of one request count together, and one whole request is enough.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for one in receipts:
        found.setdefault((str(one["customer_id"]), str(one["request_sm3"])), set()).add(str(one["site"]))
    whole = {customer for (customer, _), told in found.items() if told >= set(sites)}
    return {
        customer: sorted(set(sites) - told) for (customer, _), told in found.items() if customer not in whole
    }


def _text(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
