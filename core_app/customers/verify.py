"""Have a customer's identity checked: what products need and is not passed yet, asked of the vendors, kept.

Vendors are asked outside any transaction. What they found is written by a command, also when nobody could
answer; the step `identity` of a decision reads what holds.
"""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_NAME
from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.customers.evidence import VALID_DAYS, Held, needed_checks
from core_app.customers.identity_vendor import Check, Found, IdentityQuestion, ask_vendors
from core_app.errors import Kind, Refused, refuse_field
from core_app.ids import is_customer_id
from core_app.outbox import Told
from core_app.products.published import read_all_on_sale

PATIENCE_MS = 2000
"""Patience with one vendor. Source: our choice; a registration waits for it, no transaction does."""

# One object by kind of check, null without any; part of a statement that has `c.customer_id` and `d.day`.
HELD_COLUMN = """
(select jsonb_object_agg(n.kind, jsonb_build_array(n.finding = 'passed', n.vendor, n.reference,
                                                   d.day - n.looked_on))
 from (select distinct on (e.kind) e.kind, e.finding, e.vendor, e.reference, e.looked_on
       from core.identity_evidence e
       where e.customer_id = c.customer_id and e.finding <> 'unavailable'
       order by e.kind, e.evidence_id desc) as n)
"""

_READ = f"""
select d.day, c.name, c.id_number, {HELD_COLUMN}
from core.read_day(%(chunk)s::smallint, %(today)s::date) as d (day)
join core.customers c on c.customer_id = %(customer_id)s
"""  # noqa: S608 - put together of constants

_TODAY = "select core.enter_day(%(chunk)s::smallint, %(today)s::date)"

_INSERT = """
insert into core.identity_evidence (customer_id, kind, finding, vendor, reference, looked_on, idempotency_key)
select %(customer_id)s, f.kind, f.finding, f.vendor, f.reference, %(day)s, %(key)s
from unnest(%(kinds)s::text[], %(findings)s::text[], %(vendors)s::text[], %(references)s::text[])
    as f (kind, finding, vendor, reference)
"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    questions: tuple[IdentityQuestion, ...]
    passed: tuple[str, ...]


def read_held(plain: Mapping[str, Sequence[Any]] | None) -> dict[str, Held]:
    """Turn a HELD_COLUMN into what is held by check."""
    return {kind: Held(*columns) for kind, columns in (plain or {}).items()}


async def verify_identity(core: LendingCore, command: Command, customer_id: str) -> Done:
    """Ask for every check that a product on sale needs and that is not passed; Refused (404): no customer.

    The answer says what holds now, check by check.
    """
    if not is_customer_id(customer_id):
        raise Refused(Kind.NOT_FOUND, "There is no such customer.")
    wanted = await _read(core, command, customer_id)
    vendors = core.vendors or ()
    asked = (ask_vendors(vendors, question, PATIENCE_MS) for question in wanted.questions)
    found: list[Found] = await asyncio.gather(*asked)
    cell = core.cell_of_customer(customer_id)

    async def work(connection: Connection, claim: Claim) -> Answer:
        chunk = core.chunk_of_customer(customer_id)
        days = await connection.execute(_TODAY, {"chunk": chunk, "today": command.today})
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        (day,) = await days.fetchone() or (command.today,)
        await connection.execute(_INSERT, _columns(found) | _about(customer_id, day, command.key))
        checks = {check: "passed" for check in wanted.passed} | {
            str(one.check): str(one.finding) for one in found
        }
        body = {"customer_id": customer_id, "on": day.isoformat(), "checks": dict(sorted(checks.items()))}
        told = Told("customer.verified", customer_id, body)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)


def _about(customer_id: str, day: dt.date, key: str) -> dict[str, Any]:
    return {"customer_id": customer_id, "day": day, "key": key}


def _columns(found: Sequence[Found]) -> dict[str, list[str]]:
    return {
        "kinds": [str(one.check) for one in found],
        "findings": [str(one.finding) for one in found],
        "vendors": [one.vendor for one in found],
        "references": [one.reference for one in found],
    }


async def _read(core: LendingCore, command: Command, customer_id: str) -> _Wanted:
    values = {
        "chunk": core.chunk_of_customer(customer_id),
        "today": command.today,
        "customer_id": customer_id,
    }

    async def work(connection: Connection, _: int) -> _Wanted:
        row = await (await connection.execute(_READ, values)).fetchone()
        if row is None:
            raise refuse_field("path.customer_id", "no such customer", "a registered customer")
        day, name, id_number, held = row
        products = await read_all_on_sale(core, connection, day)
        needed = sorted({check for product in products for check in needed_checks(product)})
        known = read_held(held)
        passed = [check for check in needed if _holds(known.get(check))]
        clear = (
            core.vault.decrypt(CUSTOMER_NAME, customer_id, name),
            core.vault.decrypt(CUSTOMER_ID_NUMBER, customer_id, id_number),
        )
        # A check that nobody knows is never passed; the product that names it gives no limit.
        makeable = [check for check in needed if check in set(Check) and check not in passed]
        return _Wanted(tuple(IdentityQuestion(Check(check), *clear) for check in makeable), tuple(passed))

    cell = core.cell_of_customer(customer_id)
    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


def _holds(held: Held | None) -> bool:
    return held is not None and held.passed and held.age_days <= VALID_DAYS
