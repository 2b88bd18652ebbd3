"""The credit bureau: the port, the inquiry under its time limit, and what is kept of an answer.

An inquiry without the customer's authorisation is never made. Whatever goes wrong becomes a reason why
there is no answer; the policy says what follows from it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError

from core_app.decisions.bureau_report import BureauReport, NoAnswer


class BureauUnavailable(Exception):
    """The bureau could not be reached or said that it cannot answer now."""


@dataclass(frozen=True, slots=True)
class BureauQuestion:
    """Whom is asked about, under which written authorisation; in clear, for as long as one inquiry."""

    authorisation: str
    name: str = field(repr=False)
    id_number: str = field(repr=False)


class Bureau(Protocol):
    """A credit bureau. `inquire` may take any time: the caller stops waiting."""

    async def inquire(self, question: BureauQuestion) -> Mapping[str, Any]:
        """Return the report as a plain object; BureauUnavailable when there is none to be had."""


@dataclass(frozen=True, slots=True)
class BureauAnswer:
    """A report, or why there is none; how long the inquiry took, 0 when none was made."""

    report: BureauReport | None
    missing: NoAnswer | None
    elapsed_ms: int


async def ask_bureau(
    bureau: Bureau | None, question: BureauQuestion, timeout_ms: int, read_elapsed: Callable[[], float]
) -> BureauAnswer:
    """Inquire once, for at most `timeout_ms`; never raises for what the bureau does."""
    if bureau is None:
        return BureauAnswer(None, NoAnswer.NO_BUREAU, 0)
    begun = read_elapsed()

    def missing(why: NoAnswer) -> BureauAnswer:
        return BureauAnswer(None, why, round(1000 * (read_elapsed() - begun)))

    try:
        async with asyncio.timeout(timeout_ms / 1000):
            plain = await bureau.inquire(question)
        report = BureauReport.model_validate(plain)
    except TimeoutError:
        return missing(NoAnswer.TIMEOUT)
    except (BureauUnavailable, OSError):
        return missing(NoAnswer.UNAVAILABLE)
    except ValidationError:
        return missing(NoAnswer.UNREADABLE)
    return BureauAnswer(report, None, round(1000 * (read_elapsed() - begun)))
