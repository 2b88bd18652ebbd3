"""The port to whoever checks that people are who they say, and the check under its time limit.

What every vendor has to promise (its contract test asks for each): it answers for every kind of check it
names, for no other; a finding comes with the number under which it keeps what the finding rests on, a new
one each time; what it cannot say now is VendorUnavailable, never a finding. It may take any time: the
caller stops waiting and asks the next vendor.
"""

import asyncio
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

_REFERENCE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Check(enum.StrEnum):
    """What vendors check; products name what they need (`eligibility.identity_checks`)."""

    POLICE_MATCH = "police_match"
    """Name and ID number belong together, by the register of the police."""
    FACE_LIVENESS = "face_liveness"
    """A living face in front of the camera, that of the ID card."""
    VOICEPRINT = "voiceprint"
    VIDEO_RECORD = "video_record"
    """An interview on video, kept by the vendor."""


class VendorUnavailable(Exception):
    """The vendor could not be reached or said that it cannot answer now."""


@dataclass(frozen=True, slots=True)
class IdentityQuestion:
    """Who is to be checked, and how; in clear, for as long as one check."""

    check: Check
    name: str = field(repr=False)
    id_number: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a vendor found, and the number under which it keeps what that rests on."""

    passed: bool
    reference: str


class IdentityVendor(Protocol):
    """One vendor of identity checks."""

    @property
    def name(self) -> str:
        """Return the vendor's name, as it is stored with the evidence."""

    @property
    def checks(self) -> frozenset[Check]:
        """Return the kinds of checks that it makes."""

    async def check(self, question: IdentityQuestion) -> Verdict:
        """Check once; VendorUnavailable when there is nothing to be had."""


class Finding(enum.StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Found:
    """One check as it is stored; vendor and reference are empty when nobody could make it."""

    check: Check
    finding: Finding
    vendor: str = ""
    reference: str = ""


async def ask_vendors(
    vendors: Sequence[IdentityVendor], question: IdentityQuestion, patience_ms: int
) -> Found:
    """Ask the vendors in their order until one answers, each for at most `patience_ms`.

    Never raises for what vendors do. A vendor's finding is final: the next one is not asked for a better one.
    """
    for vendor in vendors:
        if question.check not in vendor.checks:
            continue
        try:
            async with asyncio.timeout(patience_ms / 1000):
                verdict = await vendor.check(question)
        except (VendorUnavailable, TimeoutError, OSError):
            continue
        if _REFERENCE.fullmatch(verdict.reference):
            finding = Finding.PASSED if verdict.passed else Finding.FAILED
            return Found(question.check, finding, vendor.name, verdict.reference)
    return Found(question.check, Finding.UNAVAILABLE)
