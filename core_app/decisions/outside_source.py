"""The port to outside sources about applicants (utilities, education, registry), under its time limit.

What every source has to promise (its contract test asks for each): it answers a plain object of whole
numbers, by the names that the registry gives its fields; of whom it knows nothing it answers an empty one;
what it cannot say now is SourceUnavailable. It may take any time. It is asked only with the applicant's
consent, whose number comes along.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core_app.decisions.sources import Source


class SourceUnavailable(Exception):
    """The source could not be reached or said that it cannot answer now."""


@dataclass(frozen=True, slots=True)
class SourceQuestion:
    """Whom is asked about, under which consent; in clear, for as long as one question."""

    consent: str
    name: str = field(repr=False)
    id_number: str = field(repr=False)


class OutsideSource(Protocol):
    """One source of the registry."""

    @property
    def id(self) -> str:
        """Return its id in the registry."""

    async def fetch(self, question: SourceQuestion) -> Mapping[str, Any]:
        """Return what it knows; SourceUnavailable when it cannot say."""


async def ask_source(
    outside: OutsideSource, source: Source, question: SourceQuestion, patience_ms: int
) -> dict[str, int] | None:
    """Ask once; None without an answer that can be believed. Never raises for what the source does."""
    try:
        async with asyncio.timeout(patience_ms / 1000):
            return source.read_answer(await outside.fetch(question))
    except (SourceUnavailable, TimeoutError, OSError, ValueError):
        return None
