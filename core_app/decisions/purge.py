"""Device evidence and bureau reports end when their time is over: asked for after each day-end.

How long they are kept are dated parameters (keep.device_evidence, keep.bureau_report), counted from the
application; what a loan under way rests on stays until it is settled. Each batch is a command, so that the
audit chain has what was purged, by which days. docs/decisions/062-what-is-kept-has-an-end.md has the reasons.
"""

import datetime as dt
from dataclasses import dataclass

from core_app.commands import Answer, Claim, finish_command, make_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.outbox import Told
from core_app.rules.legal import Rulebook

AT_ONCE = 5_000
"""Rows of a kind in one transaction. Source: our choice; a day's evidence of one cell goes in a few."""

_PURGE = "select evidence, reports from core.purge_expired(%s::date, %s::date, %s::date, %s)"


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows of evidence were deleted, and how many reports emptied."""

    evidence: int
    reports: int


@dataclass(frozen=True, slots=True)
class Ends:
    """What is from before these days is kept no longer."""

    evidence_before: dt.date
    reports_before: dt.date


def find_ends(rulebook: Rulebook, day: dt.date) -> Ends:
    """Return the first days that are still kept on `day`."""
    evidence, reports = (
        day - dt.timedelta(days=int(rulebook.value(key, day)))
        for key in ("keep.device_evidence", "keep.bureau_report")
    )
    return Ends(evidence, reports)


async def purge_expired(core: LendingCore, cell: str, day: dt.date, at_once: int = AT_ONCE) -> Purged:
    """Purge what is over on the evening of `day`; return the totals. A batch has its effect once."""
    ends, total = find_ends(core.catalogue.rulebook, day), Purged(0, 0)
    for number in range(1_000_000):
        batch = await _purge_batch(core, cell, (day, number, at_once), ends)
        total = Purged(total.evidence + batch.evidence, total.reports + batch.reports)
        if max(batch.evidence, batch.reports) < at_once:
            break
    return total


async def _purge_batch(core: LendingCore, cell: str, which: tuple[dt.date, int, int], ends: Ends) -> Purged:
    day, number, at_once = which
    body = {
        "day": day.isoformat(),
        "evidence_before": ends.evidence_before.isoformat(),
        "reports_before": ends.reports_before.isoformat(),
        "at_once": at_once,
    }
    command = make_command(core, f"purge-{day:%Y%m%d}-{cell}-{number:06d}", "purge", body)

    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        asked = await connection.execute(_PURGE, [ends.evidence_before, ends.reports_before, day, at_once])
        evidence, reports = await asked.fetchone() or (0, 0)
        answer = body | {"evidence": evidence, "reports": reports}
        told = Told("decisions.purged", command.key, answer)
        return await finish_command(connection, claim, 201, answer, told)

    done = (await run_command(core, cell, command, work)).answer.body
    return Purged(int(done["evidence"]), int(done["reports"]))
