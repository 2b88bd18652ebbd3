"""Compare a channel's clearing file with one cell's orders and ledger, once, and keep what was found.

What agrees three ways is moved from bank deposits to those in custody of channels: what is left on the former
is on its way, or disputed. What does not agree yet stays open in `core.custody`: `catch_up.py` looks again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from core_app.commands import (
    Answer,
    Claim,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.documents import compute_sm3
from core_app.errors import FieldProblem, Kind, Refused
from core_app.funding.clearing import Clearing, write_clearing
from core_app.funding.custody import Found, judge, list_differences
from core_app.funding.custody_rows import Place, bring_rows, lock_rows, see_rows
from core_app.outbox import Told
from core_app.router_line import ALLOW_A_MINUTE

# Two files of one day take turns: the later one is the next revision.
_ONE_BY_ONE = """
select pg_advisory_xact_lock(hashtextextended(
    concat_ws('/', 'clearing', %(channel)s::text, %(kind)s::text, %(day)s::date), 0))
"""

_EARLIER_FILES = """
select revision, file_sm3 from core.clearings
where channel = %(channel)s and kind = %(kind)s and on_date = %(day)s order by revision
"""

_CLAIM_ROWS = """
insert into core.custody (order_id, channel, kind, on_date)
select order_id, %(channel)s, %(kind)s, %(day)s from unnest(%(orders)s::text[]) as l (order_id)
on conflict do nothing
"""

_LINES_BEFORE = """
select distinct order_id from core.clearing_lines
where channel = %(channel)s and kind = %(kind)s and on_date = %(day)s
"""

# We learn of a booking a little after the channel made it: what we learnt in a day's last hour may stand in
# this file or the next, and is looked for with the next.
_EXPECTED = """
select order_id from core.custody
where channel = %(channel)s and kind = %(kind)s and standing = 'no_file'
    and at >= (%(day)s::date - time '01:00') at time zone 'Asia/Shanghai'
    and at < (%(day)s::date + time '23:00') at time zone 'Asia/Shanghai'
"""

_KEEP = """
with cleared as (
    insert into core.clearings (channel, kind, on_date, revision, lines, amount_fen, differences, file_sm3,
        idempotency_key)
    values (%(channel)s, %(kind)s, %(day)s, %(revision)s, %(lines)s, %(amount_fen)s, %(differences)s, %(sm3)s,
        %(key)s)
)
insert into core.clearing_lines (order_id, channel, kind, on_date, revision, amount_fen)
select l.order_id, %(channel)s, %(kind)s, %(day)s, %(revision)s, l.fen
from unnest(%(orders)s::text[], %(fens)s::bigint[]) as l (order_id, fen)
"""


@dataclass(frozen=True, slots=True)
class _File:
    """A file's part that points to a cell; `revision` 1 is the first of its day."""

    clearing: Clearing
    lines: dict[str, int]
    sm3: bytes
    revision: int = 0

    @property
    def asked(self) -> dict[str, Any]:
        """Return what the statements ask by."""
        one = self.clearing
        return {"channel": one.channel, "kind": one.kind, "day": one.day, "orders": list(self.lines)}


def lines_of_cell(core: LendingCore, cell: str, clearing: Clearing) -> dict[str, int]:
    """Return the lines whose numbers point to a cell; the first cell takes those that point nowhere."""
    cells = core.router.cells

    def place(order_id: str) -> str:
        try:
            slot = int(order_id[1:4], 16)
        except ValueError:
            return cells[0]
        return core.cell_of_slot(slot) if slot < 1024 else cells[0]

    return {order_id: fen for order_id, fen in clearing.lines.items() if place(order_id) == cell}


async def clear_cell(core: LendingCore, cell: str, clearing: Clearing, *, corrected: bool = False) -> Done:
    """Compare a file with a cell, once; repeated it answers as before.

    Another file of its day is Refused (409) unless it is said to be `corrected`: then what it says holds.
    """
    sm3 = compute_sm3(write_clearing(clearing).encode())
    key = f"clear-{clearing.kind}-{clearing.channel}-{clearing.day:%Y%m%d}"
    key += f"-{sm3.hex()[:16]}" if corrected else ""
    command = make_command(core, key, "clearing", {"file_sm3": sm3.hex()})
    lines = lines_of_cell(core, cell, clearing)

    async def work(connection: Connection, claim: Claim) -> Answer:
        await connection.execute(ALLOW_A_MINUTE)
        file = _File(clearing, lines, sm3)
        await connection.execute(_ONE_BY_ONE, file.asked)
        earlier_files = await (await connection.execute(_EARLIER_FILES, file.asked)).fetchall()
        if earlier_files and not corrected and sm3 not in {bytes(known) for _, known in earlier_files}:
            raise _refuse_other(clearing)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        file = _File(clearing, lines, sm3, len(earlier_files) + 1)
        differences = await _compare(connection, file, claim)
        return await _keep(connection, file, claim, differences)

    return await run_command(core, cell, command, work)


def _refuse_other(clearing: Clearing) -> Refused:
    found = f"another file of {clearing.channel}, {clearing.kind} of {clearing.day}, was compared already"
    problem = FieldProblem("file", found, "the same file, or one that is said to be corrected")
    return Refused(Kind.CONFLICT, f"{found}: a corrected one takes its place with --corrected", problem)


async def _compare(connection: Connection, file: _File, claim: Claim) -> list[str]:
    """Bring the rows of all orders that this file or an earlier one of its day names to what it says."""
    await connection.execute(_CLAIM_ROWS, file.asked)
    before = await connection.execute(_LINES_BEFORE, file.asked)
    orders = file.lines.keys() | {order_id for (order_id,) in await before.fetchall()}
    places = [Place(order_id, file.clearing.channel) for order_id in sorted(orders)]
    await lock_rows(connection, places)
    found = [judge(one) for one in await see_rows(connection, places, file.clearing.day, file.lines)]
    await bring_rows(connection, found, claim.command.key, claim.command.today)
    expected = await connection.execute(_EXPECTED, file.asked)
    return _say(found, (order_id for (order_id,) in await expected.fetchall()))


def _say(found: list[Found], expected: Iterable[str]) -> list[str]:
    missing = sorted(set(expected) - {one.order_id for one in found})
    return [
        *list_differences(found),
        *(f"{order_id}: paid with us, not in the file" for order_id in missing),
    ]


async def _keep(connection: Connection, file: _File, claim: Claim, differences: list[str]) -> Answer:
    one, key = file.clearing, claim.command.key
    body: dict[str, Any] = {
        "channel": one.channel,
        "kind": one.kind,
        "day": one.day.isoformat(),
        "lines": len(file.lines),
        "amount_fen": sum(file.lines.values()),
        "differences": differences,
    }
    kept = body | {"day": one.day, "differences": Jsonb(differences), "revision": file.revision}
    kept |= {"sm3": file.sm3, "key": key, "orders": list(file.lines), "fens": list(file.lines.values())}
    await connection.execute(_KEEP, kept)
    return await finish_command(connection, claim, 201, body, Told("channel.cleared", key, body))
