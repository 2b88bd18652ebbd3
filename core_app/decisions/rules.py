"""The rules an application passes, in order. Pure: one snapshot in, one decision out.

Rules of the product stand here; what the law refuses comes from `core_app.rules` as refusals.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core_app.limits.tree import Breach
from core_app.rules.engine import Refusal


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an application is refused: the rule's id, the value it looked at, the limit it has.

    A rule of the law also has the day it was asked for and its source.
    """

    rule: str
    value: int | str
    limit: str
    on: str | None = None
    source: str | None = None

    def as_plain(self) -> dict[str, Any]:
        """Return the reason as it is stored and shown."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def reason_of(refusal: Refusal) -> Reason:
    """Return the reason that a rule's refusal gives."""
    found = refusal.found
    value = int(found) if found.isdecimal() else found
    return Reason(refusal.rule, value, refusal.limit, refusal.on.isoformat(), refusal.source)


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome; `limit_fen` is the largest single loan the applicant could have now.

    `tier_limit_fen` is what the tier may owe in the product; the contract is held to it.
    """

    approved: bool
    reasons: tuple[Reason, ...]
    limit_fen: int
    tier_limit_fen: int | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What may still be lent, in fen: by the tree of limits, by the tier in the product, by its largest loan.

    `tier_limit_fen` is what the tier may owe in the product, None when no tier was given; `product_held_fen`
    what is held there beyond a temporary increase.
    """

    tree_fen: int
    product_max_fen: int
    product_held_fen: int
    tier_limit_fen: int | None


def decide_application(
    refused: Sequence[Reason], breaches: Sequence[Breach], room: Room, others: Sequence[Reason]
) -> Decision:
    """Decide by the steps' reasons first, then by limits, then by `others`: the law, the product's uses.

    Limits and law are asked whatever the steps said: every rule of theirs that fails gives its reason.
    """
    reasons = [*refused]
    reasons.extend(Reason(b.rule, b.found_fen, f"<= {b.limit_fen}") for b in breaches)
    rooms = [room.tree_fen, room.product_max_fen]
    if room.tier_limit_fen is not None:
        rooms.append(room.tier_limit_fen - room.product_held_fen)
    reasons.extend(others)
    limit_fen = 0 if refused else max(0, min(rooms))
    return Decision(not reasons, tuple(reasons), limit_fen, room.tier_limit_fen)
