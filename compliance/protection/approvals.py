"""The two-person rule: a root operation is done only with the signatures of two named holders. Pure.

A request names the operation, what it is done to, and the generation of each site's ring that it is meant
for; so an approval serves once, and only for the ring that the holders saw. Holders sign with SM2.
"""

import datetime as dt
import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compliance.protection.errors import ApprovalRefused
from compliance.protection.sm2 import is_signed

NEEDED_HOLDERS = 2
"""Source: our two-person rule; JR/T 0071.2 asks for split knowledge of root keys [not read]."""
LONGEST = dt.timedelta(hours=24)
"""Longest life of a request. Source: our choice, one working day of two people."""


class Operation(enum.StrEnum):
    """What needs two holders: what cannot be undone, and what decides who is trusted."""

    SHRED = "shred"
    CHANGE_ROOT = "change-root"
    DESTROY = "destroy-version"
    REOPEN = "reopen-version"
    HOLDERS = "set-holders"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. `about` is what it is done to; `generations` the rings it was asked of."""

    operation: Operation
    about: Mapping[str, str]
    generations: Mapping[str, int]
    asked_at: dt.datetime
    expires_at: dt.datetime

    def text(self) -> bytes:
        """Return the bytes that holders sign."""
        return json.dumps(self.plain(), sort_keys=True, ensure_ascii=False).encode()

    def plain(self) -> dict[str, Any]:
        """Return the request as JSON can hold it."""
        return {
            "format": "biyi-key-request-1",
            "operation": str(self.operation),
            "about": dict(self.about),
            "generations": dict(self.generations),
            "asked_at": self.asked_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Approval:
    """One holder's signature over a request."""

    holder: str
    signature: bytes = field(repr=False)


def read_request(plain: Mapping[str, Any]) -> Request:
    """Return the request of a document; ApprovalRefused names what it lacks."""
    try:
        if plain["format"] != "biyi-key-request-1":
            raise ApprovalRefused(f"request: format {plain['format']!r}, needs biyi-key-request-1")
        return Request(
            Operation(plain["operation"]),
            {str(name): str(value) for name, value in plain["about"].items()},
            {str(site): int(generation) for site, generation in plain["generations"].items()},
            dt.datetime.fromisoformat(plain["asked_at"]),
            dt.datetime.fromisoformat(plain["expires_at"]),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ApprovalRefused(f"request: field missing or malformed ({error}); ask for it anew") from None


def check_approvals(
    request: Request, approvals: Sequence[Approval], holders: Mapping[str, bytes], now: dt.datetime
) -> tuple[str, ...]:
    """Return the names of the holders who approved; ApprovalRefused unless two different keys did."""
    if not request.asked_at <= now <= request.expires_at or request.expires_at - request.asked_at > LONGEST:
        raise ApprovalRefused(f"request of {request.asked_at:%Y-%m-%d %H:%M}Z: not valid now; ask anew")
    text = request.text()
    signed = {}
    for approval in approvals:
        public = holders.get(approval.holder)
        if public is None:
            raise ApprovalRefused(f"approval of {approval.holder}: no holder of this ring")
        if not is_signed(public, text, approval.signature):
            raise ApprovalRefused(f"approval of {approval.holder}: the signature is not over this request")
        signed[public] = approval.holder
    if len(signed) < NEEDED_HOLDERS:
        raise ApprovalRefused(
            f"{request.operation}: approved by {len(signed)} of {NEEDED_HOLDERS} holders; "
            f"`biyi keys approve` by another of {', '.join(sorted(holders)) or 'none'}"
        )
    return tuple(sorted(signed.values()))


def check_generation(request: Request, site: str, generation: int) -> None:
    """Refuse a request that was made for another state of this site's ring: it was done, or overtaken."""
    wanted = request.generations.get(site)
    if wanted != generation:
        raise ApprovalRefused(
            f"ring of {site}: generation {generation}, the request is for {wanted}; it was carried out, or "
            "the ring has changed since: ask for it anew"
        )
