"""A look: recorded and told first, read in the same transaction, opened only when that is committed.

A look is no command: asked again it shows again, so it is recorded again. Its id is made before the
transaction, so a transaction that the router runs again (after a failover) records it once.
"""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from compliance.protection.masking import Profile, mask
from core_app.commands import Answer, Done
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused, refuse_conflict
from core_app.ids import Letter, is_customer_id, slot_of_id
from core_app.staff.looks import FACTS, PERSONAL, Subject, Viewer, Wish, record_of

_RECORD = "select look_id, customer_id, facts from core.record_looks(%s)"
# A statement of its own, so that it sees the look: without it the database shows no row (migration 031).
SEALED = "select customer_id, name, id_number, phone from core.customers where customer_id = any(%s)"

_END = """
with ended as (
    insert into core.staff_look_ends (look_id, dwell_ms)
    select look_id, %(dwell_ms)s from core.staff_looks where look_id = %(look_id)s
    on conflict (look_id) do nothing
    returning look_id, dwell_ms
)
insert into core.outbox (topic, key, payload, idempotency_key)
select 'staff.look_ended', look_id, to_jsonb(ended) || jsonb_build_object('staff', %(staff)s::text), look_id
from ended
"""

_BEAT = """
with beaten as (
    insert into core.staff_look_beats (look_id, dwell_ms)
    select l.look_id, %(dwell_ms)s from core.staff_looks l left join core.staff_look_ends e using (look_id)
    where l.look_id = any(%(ids)s) and l.staff = %(staff)s and e.look_id is null
    on conflict (look_id) do update
        set dwell_ms = greatest(core.staff_look_beats.dwell_ms, excluded.dwell_ms), at = now()
    returning look_id, dwell_ms
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'staff.look_beat', look_id, to_jsonb(beaten) || jsonb_build_object('staff', %(staff)s::text),
        look_id
    from beaten
)
select look_id from beaten
"""

_RECORDS = """
select l.look_id, l.staff, l.role, l.branch, l.kind, l.assigned, l.subject, l.subject_id, l.customer_id,
    l.fields, l.clear, l.purpose, l.case_id, l.site, host(l.address) as address, l.terminal, l.at, e.dwell_ms,
    round(extract(epoch from e.at - l.at) * 1000)::bigint as elapsed_ms, b.dwell_ms as last_beat_ms
from core.staff_looks l left join core.staff_look_ends e using (look_id)
    left join core.staff_look_beats b using (look_id)
"""
_ONE = _RECORDS + "where l.look_id = %(look_id)s"
_LATEST = (
    _RECORDS
    + """
where (not %(open)s or e.look_id is null) and l.at <= now() - make_interval(secs => %(older_than_seconds)s)
order by l.at desc limit %(limit)s
"""
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Which records are asked for: at most `limit`, the newest first."""

    open: bool
    older_than_seconds: int
    limit: int


async def look(core: LendingCore, viewer: Viewer, wish: Wish) -> Done:
    """Record a look and show what it asks for; Refused (404, the look is recorded) when there is none.

    Values are opened after the commit: nothing is shown, nor even in memory in clear, that is unrecorded.
    """
    slot = _slot_of(core, wish.subject, wish.subject_id)
    if slot is None:
        raise Refused(Kind.NOT_FOUND, f"There is no such {wish.subject}.")
    cell = core.cell_of_slot(slot)
    look_id = core.new_id(Letter.LOOK, slot)
    record = record_of(look_id, core.site, viewer, wish)

    async def work(connection: Connection, epoch: int) -> tuple[Any, ...] | None:
        noted = await (await connection.execute(_RECORD, [Jsonb([record])])).fetchone()
        if noted is None:
            return None
        sealed = await (await connection.execute(SEALED, [[noted[1]]])).fetchone()
        return None if sealed is None else (*sealed, noted[2])

    done = await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)
    if done.value is None:
        refusal = Refused(Kind.NOT_FOUND, f"There is no such {wish.subject}.")
        refusal.cell, refusal.epoch = cell, done.epoch
        raise refusal
    body = {"look_id": look_id} | _show(core, wish, done.value)
    return Done(cell, Answer(201, body, done.epoch, replayed=False))


def _slot_of(core: LendingCore, subject: Subject, subject_id: str) -> int | None:
    if subject is Subject.CUSTOMER:
        return core.slot_of_customer(subject_id) if is_customer_id(subject_id) else None
    return slot_of_id(Letter.LOAN if subject is Subject.LOAN else Letter.APPLICATION, subject_id)


def _show(core: LendingCore, wish: Wish, row: tuple[Any, ...]) -> dict[str, Any]:
    customer_id, *sealed, facts = row
    person = open_person(core, wish.fields, customer_id, sealed, None if wish.clear else Profile.STANDARD)
    return {
        "subject": str(wish.subject),
        "subject_id": wish.subject_id,
        "customer_id": customer_id,
        "clear": wish.clear,
        "person": person,
        "facts": {name: facts[name] for name in FACTS[wish.subject]},
    }


def open_person(
    core: LendingCore,
    fields: Sequence[str],
    customer_id: str,
    sealed: Sequence[bytes],
    profile: Profile | None,
) -> dict[str, str]:
    """Open the named fields of a customer; masked by `profile`, clear without one. After the commit only."""
    person: dict[str, str] = {}
    for (name, column), stored in zip(PERSONAL.items(), sealed, strict=True):
        if name in fields:
            value = core.vault.decrypt(column, customer_id, stored)
            if profile is not None:
                value = mask(value, column.shape, column.data_class, profile)
            person[name] = value
    return person


async def beat_looks(core: LendingCore, staff: str, look_ids: Sequence[str], dwell_ms: int) -> int:
    """Note that a page still shows these looks of one's own; returns how many are open and were noted."""
    by_cell: dict[str, list[str]] = {}
    for look_id in dict.fromkeys(look_ids):
        if (cell := core.cell_of_id(Letter.LOOK, look_id)) is not None:
            by_cell.setdefault(cell, []).append(look_id)

    async def beat(cell: str, ids: list[str]) -> int:
        async def work(connection: Connection, _epoch: int) -> int:
            rows = await connection.execute(_BEAT, {"ids": ids, "staff": staff, "dwell_ms": dwell_ms})
            return len(await rows.fetchall())

        return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value

    return sum(await asyncio.gather(*(beat(cell, ids) for cell, ids in by_cell.items())))


async def end_look(core: LendingCore, staff: str, look_id: str, dwell_ms: int) -> Done:
    """Record how long a look lasted, once; the same again is answered the same.

    Refused: 404 when the member of staff has no such look, 409 when it ended with another dwell.
    """
    cell = core.cell_of_id(Letter.LOOK, look_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such look.")
    values = {"look_id": look_id, "staff": staff, "dwell_ms": dwell_ms}

    async def work(connection: Connection, epoch: int) -> Answer:
        await connection.execute(_END, values)
        # A statement of its own, so that it sees an end that another request committed meanwhile.
        rows = await connection.execute(_ONE, values)
        row = await rows.fetchone()
        if row is None or (record := _read_record(rows.description, row))["staff"] != staff:
            raise Refused(Kind.NOT_FOUND, "There is no such look.")
        if record["dwell_ms"] != dwell_ms:
            raise refuse_conflict("body.dwell_ms", "the look ended with another dwell", "the recorded dwell")
        return Answer(200, record, epoch, replayed=False)

    written = await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, written.value)


async def show_look(core: LendingCore, look_id: str) -> Done:
    """Return the record of a look; without `dwell_ms` it has not ended. Refused (404) when there is none."""
    cell = core.cell_of_id(Letter.LOOK, look_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such look.")

    async def work(connection: Connection, epoch: int) -> Answer:
        rows = await connection.execute(_ONE, {"look_id": look_id})
        row = await rows.fetchone()
        if row is None:
            raise Refused(Kind.NOT_FOUND, "There is no such look.")
        return Answer(200, _read_record(rows.description, row), epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


async def list_looks(core: LendingCore, listing: Listing) -> Mapping[str, Any]:
    """Return the newest records of all cells together; CellUnavailable when one cannot be asked."""

    async def work(connection: Connection, epoch: int) -> list[dict[str, Any]]:
        rows = await connection.execute(_LATEST, asdict(listing))
        return [_read_record(rows.description, row) for row in await rows.fetchall()]

    reads = (
        core.router.read(cell, work, deadline_seconds=core.deadline_seconds) for cell in core.router.cells
    )
    found = [record for read in await asyncio.gather(*reads) for record in read.value]
    found.sort(key=lambda record: record["at"], reverse=True)
    return {"looks": found[: listing.limit]}


def _read_record(description: Any, row: tuple[Any, ...]) -> dict[str, Any]:
    record = {column.name: value for column, value in zip(description, row, strict=True)}
    return record | {"at": record["at"].astimezone(dt.UTC).isoformat(timespec="microseconds")}
