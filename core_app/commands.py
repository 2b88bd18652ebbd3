"""Commands are done once: the idempotency record, first row of every write transaction.

A command may be sent again by a client, or re-run by the router in a newer epoch; the primary key
of core.commands decides which run has the effect. Every later one answers from the stored row.
A key is unique within its cell, and that is enough: the cell of a command follows from its body alone (the
customer's slot, from the person or inside the id), so whoever repeats a request comes to the cell where it
was done. The same key with a body of another cell is another command, done once too; decision 044.
"""

import datetime as dt
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from core_app.core import Connection, LendingCore
from core_app.customers.identity import names_a_person
from core_app.errors import FieldProblem, Kind, Refused
from core_app.outbox import Told

KEY_PATTERN = r"^[A-Za-z0-9_-]{8,64}$"
KEY_NEEDED = "8 to 64 letters, digits, - or _ that hold no ID or mobile number"

_CLAIM = """
insert into core.commands (idempotency_key, request_sm3, kind, epoch, committed_by)
values (%s, %s, %s, %s, %s)
on conflict do nothing
returning 1
"""

# `for update` writes to the log, so this transaction's commit waits for the synchronous copy too:
# an answer is repeated only when the commit that it repeats is on both sides.
_EARLIER = """
select request_sm3, epoch, status, response from core.commands where idempotency_key = %s for update
"""

EARLIER_ALL = """
select idempotency_key, request_sm3, epoch, status, response from core.commands
where idempotency_key = any(%s::text[]) order by idempotency_key for update
"""

_FINISH = """
with told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    values (%(topic)s, %(row_key)s, %(payload)s, %(key)s)
)
update core.commands set status = %(status)s, response = %(response)s where idempotency_key = %(key)s
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One request to change something: its key, what it is, its keyed digest, the day it came in."""

    key: str
    kind: str
    digest: bytes
    today: dt.date


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is told; `epoch` is the one the command was committed in."""

    status: int
    body: Mapping[str, Any]
    epoch: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Done:
    """An answer and the cell it came from."""

    cell: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on a key, sent but not yet read: further statements may be sent before it is."""

    command: Command
    epoch: int
    cursor: psycopg.AsyncCursor[Any]


def is_key(text: str) -> bool:
    """Say whether a text may be an idempotency key.

    It is kept in clear wherever the command is told of, for years: one that names a person is refused.
    """
    return re.fullmatch(KEY_PATTERN, text) is not None and not names_a_person(text)


def make_command(core: LendingCore, key: str, kind: str, body: Mapping[str, Any]) -> Command:
    """Return the command of a checked body; equal bodies have equal digests however they were spelled."""
    canonical = json.dumps({"kind": kind, "body": body}, sort_keys=True, ensure_ascii=False)
    return Command(key, kind, core.vault.request_digest(canonical.encode()), core.read_today())


async def run_command(
    core: LendingCore, cell: str, command: Command, work: Callable[[Connection, Claim], Awaitable[Answer]]
) -> Done:
    """Run `work` as one transaction of `cell`, with the claim on the command's key sent first."""

    async def transaction(connection: Connection, epoch: int) -> Answer:
        cursor = await connection.execute(
            _CLAIM, [command.key, command.digest, command.kind, epoch, core.site]
        )
        try:
            return await work(connection, Claim(command, epoch, cursor))
        except Refused as refusal:
            refusal.cell, refusal.epoch = cell, epoch
            raise

    written = await core.router.write(cell, transaction, deadline_seconds=core.deadline_seconds)
    return Done(cell, written.value)


async def read_earlier_answer(connection: Connection, claim: Claim) -> Answer | None:
    """Return None when the claim holds, or the answer stored earlier under its key.

    Refused (409) when the key was used for another request.
    """
    if await claim.cursor.fetchone() is not None:
        return None
    earlier = await connection.execute(_EARLIER, [claim.command.key])
    return _answer_again(claim.command, await earlier.fetchone())


def _answer_again(command: Command, row: Sequence[Any] | None) -> Answer:
    if row is None or row[2] is None:
        raise RuntimeError("a claimed key without an answer: its transaction cannot have committed")
    digest, epoch, status, body = row
    if bytes(digest) != command.digest:
        raise Refused(
            Kind.KEY_REUSED,
            "This idempotency key was used for another request.",
            FieldProblem("header.Idempotency-Key", "a key of another request", "a new key"),
        )
    return Answer(status, body, epoch, replayed=True)


async def ask_earlier(connection: Connection, commands: Sequence[Command]) -> psycopg.AsyncCursor[Any]:
    """Send the question what was answered under the keys of `commands`; costs no round trip of its own.

    Sent behind the locks of what they change, it sees every equal command that had its effect.
    """
    return await connection.execute(EARLIER_ALL, [[command.key for command in commands]])


async def fetch_earlier(
    asked: psycopg.AsyncCursor[Any], commands: Sequence[Command]
) -> dict[str, Answer | Refused]:
    """Return by key what commands were answered before, Refused (409) where a key was another command's."""
    found = {key: columns for key, *columns in await asked.fetchall()}
    outcomes: dict[str, Answer | Refused] = {}
    for command in commands:
        if command.key in found:
            try:
                outcomes[command.key] = _answer_again(command, found[command.key])
            except Refused as refusal:
                outcomes[command.key] = refusal
    return outcomes


async def finish_command(
    connection: Connection, claim: Claim, status: int, body: Mapping[str, Any], told: Told
) -> Answer:
    """Store the answer and the outbox row, last statement of a command; returns the answer."""
    await connection.execute(
        _FINISH,
        {
            "topic": told.topic,
            "row_key": told.key,
            "payload": Jsonb(told.payload),
            "key": claim.command.key,
            "status": status,
            "response": Jsonb(body),
        },
    )
    return Answer(status, body, claim.epoch, replayed=False)
