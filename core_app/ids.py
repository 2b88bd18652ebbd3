"""Ids of the core's objects. Pure.

A customer's id is derived from the person, so the same person has the same id everywhere. All other
ids carry their slot: `L1f3-<32 hex>` is routed to its cell without looking anything up.
"""

import enum
import re
import uuid

from compliance.protection.index import compute_hmac_sm3
from core_app.slots import SLOTS

_CUSTOMER = re.compile(r"C[0-9a-f]{24}")
_ROUTED = re.compile(r"[AGKLNPRSTUV]([0-9a-f]{3})-[0-9a-f]{32}")


class Letter(enum.StrEnum):
    """First letter of a routed id."""

    APPLICATION = "A"
    CONTRACT = "K"
    LOAN = "L"
    NOTICE = "N"
    PAYOUT = "P"
    REPAYMENT = "R"
    LOOK = "S"
    COLLECTION_TASK = "T"
    CONTACT = "U"
    COMPLAINT = "G"
    COUPON = "V"


def derive_customer_id(customer_id_key: bytes, id_number: str) -> str:
    """Return `C` and 24 hex digits of the keyed hash of a normalised ID number."""
    return "C" + compute_hmac_sm3(customer_id_key, f"customer|{id_number}".encode()).hex()[:24]


def is_customer_id(text: str) -> bool:
    """Say whether `text` has the form of a customer id."""
    return _CUSTOMER.fullmatch(text) is not None


def make_routed_id(letter: Letter, slot: int, unique: uuid.UUID) -> str:
    """Return the id of a new object whose customer lives in `slot`."""
    return f"{letter}{slot:03x}-{unique.hex}"


def slot_of_id(letter: Letter, text: str) -> int | None:
    """Return the slot a routed id carries, or None when `text` is no id of that kind."""
    match = _ROUTED.fullmatch(text)
    if match is None or text[0] != letter:
        return None
    slot = int(match.group(1), 16)
    return slot if slot < SLOTS else None


def payout_id(loan_id: str) -> str:
    """Return the id of a loan's payout order; channels know the payment by it.

    >>> payout_id("L1f3-0123456789abcdef0123456789abcdef")
    'P1f3-0123456789abcdef0123456789abcdef'
    """
    return Letter.PAYOUT + loan_id[1:]
