"""The port to whoever places calls for us: a voice robot. Values and a Protocol. Pure.

What every robot has to promise (its contract test asks for each):
- a call's number is placed at most once, however often `call` brings it; what was answered is answered;
- it says the words and nothing else, to whoever answers; what it answered survives its own crash;
- a phone that cannot be is REFUSED, and is never called under that number;
- no answer is UNKNOWN: the call may have been placed, and may be brought again under its number.
"""

import enum
from dataclasses import dataclass, field
from typing import Protocol


class Called(enum.StrEnum):
    """What an answer, or its absence, says of a call."""

    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """What is called and said."""

    number: str
    words: str
    phone: str = field(repr=False)


class VoiceRobot(Protocol):
    """One vendor. Never raises for what goes wrong outside: that is UNKNOWN."""

    async def call(self, call: Call) -> Called:
        """Bring a call once."""
