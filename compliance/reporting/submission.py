"""Batches and what becomes of them: prepared, sent, received, accepted or rejected, corrected.

Kept in the first cell, so that a batch that one site began the other ends. That it is being sent is written
before the regulator is asked; whoever finds a batch being sent asks what became of it before sending again.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from compliance.reporting.batch import FINAL, Kind, Made, State, batch_id_of, plan_next
from compliance.reporting.errors import FilingRefused
from compliance.reporting.regulator import Answer, Regulator, Remark

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]

_OUT_OF_ORDER = "BY140"

_VERSIONS = """
select b.batch_id, b.version, b.manifest_sm3, e.state
from filing.batches b join lateral (
    select state from filing.events e where e.batch_id = b.batch_id order by number desc limit 1) e on true
where b.kind = %(kind)s and b.on_date = %(day)s order by b.version desc
"""
_ADD = """
insert into filing.batches (batch_id, kind, on_date, since, version, corrects, reason, manifest, manifest_sm3,
    made_by)
values (%(id)s, %(kind)s, %(day)s, %(since)s, %(version)s, %(corrects)s, %(reason)s, %(manifest)s, %(sm3)s,
    %(site)s)
"""
_ADD_EVENT = """
insert into filing.events (batch_id, number, state, receipt, note, by_site)
values (%(id)s, %(number)s, %(state)s, %(receipt)s, %(note)s, %(site)s)
"""
_ADD_REMARK = """
insert into filing.remarks (batch_id, number, table_code, row_key, field, remark)
values (%(id)s, %(number)s, %(table)s, %(key)s, %(field)s, %(text)s)
"""
_REMARKS = """
select table_code, row_key, field, remark from filing.remarks where batch_id = %s order by number
"""
NOTES_MOST = 10
"""How often an answer is written down anew when the other site was faster. Source: our choice."""
REMARKS_KEPT = 1000
"""Lines of a feedback file that are kept. Source: our choice; the receipt names the whole."""
NOTE_LONGEST = 2000
_LONGEST = {"table": 20, "key": 200, "field": 60, "text": 500}
"""Characters of an answer's note and of a remark's parts that are kept. Source: the tables' checks."""
_STANDING = """
select b.*, e.state, e.number, e.receipt, e.note, e.at as changed_at
from filing.batches b join lateral (
    select * from filing.events e where e.batch_id = b.batch_id order by number desc limit 1) e on true
where b.batch_id = %(id)s or %(id)s = '' order by b.on_date, b.kind, b.version
"""


class Writer(Protocol):
    """Runs a transaction in the cell that keeps the batches, wherever it is written."""

    async def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction and commit it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A batch and its last event."""

    batch_id: str
    kind: Kind
    day: Any
    version: int
    sm3: str
    manifest: Mapping[str, Any]
    state: State
    number: int
    receipt: str | None
    note: str
    corrects: str | None


async def prepare(writer: Writer, made: Made, site: str, corrects_because: str = "") -> str:
    """Keep a checked filing as a batch and return its id; the same content twice is one batch.

    FilingRefused when a check refuses it, when another version is under way, or when what is final would be
    filed again without a reason.
    """
    if made.findings:
        first = made.findings[0]
        raise FilingRefused(
            f"{len(made.findings)} findings, nothing leaves: table {first.table}, key {first.key}, rule "
            f"{first.rule}: found {first.found}, needs {first.needed}"
        )

    async def work(connection: Connection) -> str:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_VERSIONS, {"kind": str(made.kind), "day": made.day})
        versions = await cursor.fetchall()
        newest = versions[0] if versions else None
        if newest is not None and bytes(newest["manifest_sm3"]) == made.sm3 and not corrects_because:
            return str(newest["batch_id"])
        _refuse_out_of_turn(newest, corrects_because)
        version = (newest["version"] if newest else 0) + 1
        batch_id = batch_id_of(made.kind, made.day, version)
        values = {
            "id": batch_id, "kind": str(made.kind), "day": made.day, "since": made.since, "version": version,
            "corrects": newest["batch_id"] if newest else None, "reason": corrects_because or None,
            "manifest": json.dumps(made.manifest(), ensure_ascii=False), "sm3": made.sm3, "site": site,
        }  # fmt: skip
        await connection.execute(_ADD, values)
        event = {"id": batch_id, "number": 1, "state": "prepared", "receipt": None, "note": "", "site": site}
        await connection.execute(_ADD_EVENT, event)
        return batch_id

    try:
        return await writer.write(work)
    except errors.UniqueViolation as error:
        raise FilingRefused(
            f"{made.kind} of {made.day}: another is preparing it; look at its status"
        ) from error


def _refuse_out_of_turn(newest: Mapping[str, Any] | None, reason: str) -> None:
    if newest is None:
        if reason:
            raise FilingRefused("nothing was filed yet: there is nothing to correct")
        return
    state = State(newest["state"])
    if state not in FINAL:
        raise FilingRefused(f"{newest['batch_id']} is {state}: end it first (biyi report submit)")
    if not reason:
        raise FilingRefused(
            f"{newest['batch_id']} is {state} and the books give another content: correct it with a reason"
        )


async def read_standings(writer: Writer, batch_id: str = "") -> list[Standing]:
    """Return every batch, or one, with what became of it."""

    async def work(connection: Connection) -> list[Standing]:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_STANDING, {"id": batch_id})
        return [
            Standing(
                row["batch_id"], Kind(row["kind"]), row["on_date"], row["version"],
                bytes(row["manifest_sm3"]).hex(), json.loads(row["manifest"]), State(row["state"]),
                row["number"], row["receipt"], row["note"], row["corrects"],
            )
            for row in await cursor.fetchall()
        ]  # fmt: skip

    return await writer.write(work)


async def read_remarks(writer: Writer, batch_id: str) -> list[Remark]:
    """Return what the regulator found wrong with a batch, in the order of its feedback file."""

    async def work(connection: Connection) -> list[Remark]:
        return [Remark(*row) for row in await (await connection.execute(_REMARKS, [batch_id])).fetchall()]

    return await writer.write(work)


async def submit(writer: Writer, regulator: Regulator, batch_id: str, site: str) -> Standing:
    """Bring a batch to the regulator and to an end if it answers; safe to repeat, at either site.

    FilingRefused for an unknown batch; RegulatorSilent when it did not answer: repeat it later.
    """
    standing = await read_standing(writer, batch_id)
    if standing.state in FINAL:
        return standing
    answer: Answer | None = None
    if standing.state is not State.PREPARED:
        answer = await regulator.find(batch_id)  # it may have it: never told again before it was asked
    if answer is None:
        ours = await _note(writer, standing, State.SENDING, None, site)
        standing = await read_standing(writer, batch_id)
        if standing.state in FINAL:
            return standing
        answer = None if ours else await regulator.find(batch_id)  # the other site was faster
        answer = answer or await regulator.submit(batch_id, standing.manifest)
    if answer.sm3 != standing.sm3:
        raise FilingRefused(
            f"{batch_id}: the regulator holds another content: {answer.note or answer.sm3[:16]}"
        )
    for _ in range(NOTES_MOST):
        wanted = plan_next(standing.state, answer.state)
        if wanted is None or await _note(writer, standing, wanted, answer, site):
            break
        # The other site wrote meanwhile: the answer still holds.
        standing = await read_standing(writer, batch_id)
    return await read_standing(writer, batch_id)


async def read_standing(writer: Writer, batch_id: str) -> Standing:
    """Return one batch and what became of it; FilingRefused for an unknown id."""
    found = await read_standings(writer, batch_id)
    if not found or not batch_id:
        raise FilingRefused(f"there is no batch {batch_id or '(no id)'}; see biyi report status")
    return found[0]


def _clip(remark: Remark) -> dict[str, str]:
    """Return a remark as the table takes it: however odd a feedback file is, the batch ends."""
    texts = {
        "table": remark.table or "-",
        "key": remark.key,
        "field": remark.field,
        "text": remark.text or "-",
    }
    return {name: text.replace("\0", "")[: _LONGEST[name]] for name, text in texts.items()}


async def _note(
    writer: Writer, standing: Standing, state: State, answer: Answer | None, site: str
) -> bool:  # fmt: skip
    """Write an event down; False when another site was faster: its own stands."""
    note = answer.note.replace("\0", "")[:NOTE_LONGEST] if answer else ""
    values = {
        "id": standing.batch_id, "number": standing.number + 1, "state": str(state), "site": site,
        "receipt": answer.receipt if answer else None, "note": note,
    }  # fmt: skip

    remarks = [
        {"id": standing.batch_id, "number": number, **_clip(one)}
        for number, one in enumerate(answer.remarks[:REMARKS_KEPT] if answer and state in FINAL else (), 1)
    ]  # fmt: skip

    async def work(connection: Connection) -> None:
        await connection.execute(_ADD_EVENT, values)
        if remarks:
            await connection.cursor().executemany(_ADD_REMARK, remarks)

    try:
        await writer.write(work)
    except psycopg.DatabaseError as error:
        if not isinstance(error, errors.UniqueViolation) and error.sqlstate != _OUT_OF_ORDER:
            raise
        return False
    return True
