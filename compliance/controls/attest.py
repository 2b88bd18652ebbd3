"""Attestations by two people, and the runs that were made: schema `controls` of the accounts' cell.

Whoever attests is logged in; whoever confirms is somebody else, a security or audit administrator.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg import errors

from compliance.access.desk import Connection, Desk, Session, fetch, fetch_all
from compliance.access.roles import Role
from compliance.access.rules import Scope
from compliance.audit.digest import compute_sm3
from compliance.controls.catalogue import ATTESTED_DAYS_MOST, Catalogue
from compliance.controls.errors import AttestationRefused
from compliance.controls.judge import Attested
from compliance.controls.readings import canonical

CONFIRMING = frozenset({Role.SECURITY_ADMIN, Role.AUDIT_ADMIN})
"""Who may be the second person."""

_ADD = """
insert into controls.attestations (attestation_id, item, holds, owner, statement, document, document_sm3,
    valid_from, valid_to, made_by)
values (%(id)s, %(item)s, %(holds)s, %(owner)s, %(statement)s, %(document)s, %(sm3)s, %(valid_from)s,
    %(valid_to)s, %(made_by)s)
on conflict do nothing
"""
_KNOWN = "select made_by from controls.attestations where attestation_id = %(id)s"
_CONFIRM = """
insert into controls.confirmations (attestation_id, confirmed_by) values (%(id)s, %(by)s)
on conflict do nothing
"""
_CONFIRMED = "select confirmed_by from controls.confirmations where attestation_id = %(id)s"
_WITHDRAW = """
insert into controls.withdrawals (attestation_id, withdrawn_by, reason) values (%(id)s, %(by)s, %(reason)s)
on conflict do nothing
"""
_LIST = """
select a.*, c.confirmed_by, w.attestation_id is not null as withdrawn
from controls.attestations a left join controls.confirmations c using (attestation_id)
left join controls.withdrawals w using (attestation_id)
order by a.item, a.at, a.attestation_id
"""
_NEWEST = "select number, pack_sm3 from controls.runs order by number desc limit 1"
_ADD_RUN = """
insert into controls.runs (number, pack_sm3, previous_sm3, form, met, not_met, unknown, points_2021,
    met_percent, run_at)
values (%(number)s, %(pack_sm3)s, %(previous_sm3)s, %(form)s, %(met)s, %(not_met)s, %(unknown)s,
    %(points_2021)s, %(met_percent)s, %(run_at)s)
"""
_RUNS = "select * from controls.runs order by number desc limit %(limit)s"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to attest. `document` is a file's name, `content` its bytes."""

    item: str
    holds: bool
    statement: str
    document: str
    content: bytes
    valid_from: dt.date
    valid_to: dt.date


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run: its number (0: none yet) and its pack's hash."""

    number: int
    pack_sm3: bytes | None


def check_wish(catalogue: Catalogue, wish: Wish, session: Session) -> None:
    """Raise AttestationRefused when the wish cannot be taken from whoever is logged in."""
    if session.scope is not Scope.FULL:
        raise AttestationRefused("log in fully first (password changed, second factor confirmed)")
    if wish.item not in catalogue.items:
        raise AttestationRefused(f"item {wish.item}: there is none; `biyi controls items` lists them")
    days = (wish.valid_to - wish.valid_from).days
    if not 0 <= days <= ATTESTED_DAYS_MOST:
        raise AttestationRefused(
            f"valid {wish.valid_from} to {wish.valid_to}: needs 0 to {ATTESTED_DAYS_MOST} days"
        )
    if not wish.content:
        raise AttestationRefused(f"document {wish.document}: is empty")


async def attest(desk: Desk, catalogue: Catalogue, session: Session, wish: Wish) -> str:
    """Write an attestation down and return its id; the same one twice is kept once."""
    check_wish(catalogue, wish, session)
    values: dict[str, Any] = {
        "item": wish.item, "holds": wish.holds, "owner": catalogue.items[wish.item].owner,
        "statement": wish.statement, "document": wish.document, "sm3": compute_sm3(wish.content),
        "valid_from": wish.valid_from, "valid_to": wish.valid_to, "made_by": session.staff,
    }  # fmt: skip
    named = {**values, "sm3": values["sm3"].hex()}
    named |= {name: values[name].isoformat() for name in ("valid_from", "valid_to")}
    attestation_id = "T" + compute_sm3(canonical(named)).hex()[:32]

    async def work(connection: Connection) -> None:
        await connection.execute(_ADD, {"id": attestation_id, **values})

    try:  # around the commit: what arrives in a pipeline fails there
        await desk.directory.write(work)
    except errors.CheckViolation as error:
        constraint = error.diag.constraint_name or ""
        raise AttestationRefused(
            f"{constraint.removeprefix('attestations_').removesuffix('_check')}: not acceptable "
            "(a statement has 10 to 2,000 characters, a document's name 1 to 200)"
        ) from error
    return attestation_id


async def confirm(desk: Desk, session: Session, attestation_id: str) -> None:
    """Confirm somebody else's attestation; AttestationRefused for one's own, unknown or confirmed one."""
    if session.scope is not Scope.FULL or CONFIRMING.isdisjoint(session.roles):
        raise AttestationRefused("only a security or audit administrator confirms, fully logged in")
    values = {"id": attestation_id, "by": session.staff}

    async def work(connection: Connection) -> None:
        known = await fetch(connection, _KNOWN, values)
        if known is None:
            raise AttestationRefused(f"{attestation_id}: there is no such attestation")
        if known["made_by"] == session.staff:
            raise AttestationRefused("an attestation takes two people: this one is your own")
        await connection.execute(_CONFIRM, values)
        row = await fetch(connection, _CONFIRMED, values)
        if row is not None and row["confirmed_by"] != session.staff:
            raise AttestationRefused(f"{attestation_id}: {row['confirmed_by']} confirmed it already")

    await desk.directory.write(work)


async def withdraw(desk: Desk, session: Session, attestation_id: str, reason: str) -> None:
    """Take an attestation back for good: its maker may, or whoever may confirm."""
    values = {"id": attestation_id, "by": session.staff, "reason": reason}

    async def work(connection: Connection) -> None:
        known = await fetch(connection, _KNOWN, values)
        if known is None:
            raise AttestationRefused(f"{attestation_id}: there is no such attestation")
        if session.staff != known["made_by"] and CONFIRMING.isdisjoint(session.roles):
            raise AttestationRefused("only who made it, or a security or audit administrator, withdraws it")
        await connection.execute(_WITHDRAW, values)

    await desk.directory.write(work)


async def list_attestations(desk: Desk) -> list[Attested]:
    """Return every attestation, oldest first within an item."""
    rows = await desk.directory.write(lambda c: fetch_all(c, _LIST, {}))
    return [
        Attested(
            row["attestation_id"], row["item"], row["holds"], row["owner"], row["statement"], row["document"],
            bytes(row["document_sm3"]).hex(), row["valid_from"], row["valid_to"], row["made_by"],
            row["confirmed_by"], row["withdrawn"],
        )
        for row in rows
    ]  # fmt: skip


async def read_last_run(desk: Desk) -> LastRun:
    """Return the newest run that was recorded."""
    row = await desk.directory.write(lambda c: fetch(c, _NEWEST, {}))
    return LastRun(0, None) if row is None else LastRun(row["number"], bytes(row["pack_sm3"]))


async def record_run(desk: Desk, run: dict[str, Any]) -> None:
    """Record a run; AttestationRefused when another one took its number meanwhile: run again."""

    async def work(connection: Connection) -> None:
        await connection.execute(_ADD_RUN, run)

    try:
        await desk.directory.write(work)
    except errors.UniqueViolation as error:
        raise AttestationRefused(f"run {run['number']} was recorded by another meanwhile") from error


async def list_runs(desk: Desk, limit: int) -> list[dict[str, Any]]:
    """Return the newest runs, newest first."""
    rows = await desk.directory.write(lambda c: fetch_all(c, _RUNS, {"limit": limit}))
    for row in rows:
        row["pack_sm3"] = bytes(row["pack_sm3"]).hex()
        row["previous_sm3"] = bytes(row["previous_sm3"]).hex() if row["previous_sm3"] else None
        row["points_2021"], row["met_percent"] = float(row["points_2021"]), float(row["met_percent"])
    return rows
