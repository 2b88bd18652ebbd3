"""Register a customer once, and show one masked."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_NAME, CUSTOMER_PHONE
from compliance.protection.masking import mask
from core_app.commands import (
    Answer,
    Claim,
    Command,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.customers.identity import find_id_number_fault, normalise, province, read_mobile
from core_app.customers.verify import verify_identity
from core_app.documents import compute_sm3
from core_app.errors import Kind, Refused, refuse_field
from core_app.ids import derive_customer_id, is_customer_id
from core_app.outbox import Told
from core_app.router import CellUnavailable

_INSERT = """
insert into core.customers
    (customer_id, slot, region, name, id_number, id_number_index, phone, phone_index, idempotency_key)
values (%(customer_id)s, %(slot)s, %(region)s, %(name)s, %(id_number)s, %(id_number_index)s, %(phone)s,
        %(phone_index)s, %(key)s)
on conflict (customer_id) do nothing
returning 1
"""

_SELECT = "select name, id_number, phone from core.customers where customer_id = %s"


@dataclass(frozen=True, slots=True)
class Person:
    """Who applies, in clear, for as long as one request; normalised and checked, hidden from `repr`."""

    name: str
    id_number: str
    phone: str

    def __repr__(self) -> str:
        return "Person(…)"


def check_person(name: str, id_number: str, phone: str) -> Person:
    """Return the normalised person; Refused names the bad field without quoting it."""
    plain_name = " ".join(name.split())
    if not plain_name:
        raise refuse_field("body.name", "an empty text", "a name")
    plain_id = normalise(id_number)
    if (fault := find_id_number_fault(plain_id)) is not None:
        raise refuse_field("body.id_number", fault, "an 18-character ID number (GB 11643)")
    mobile = read_mobile(normalise(phone))
    if mobile is None:
        raise refuse_field("body.phone", "a text that is no mobile number", "a mainland mobile number")
    return Person(plain_name, plain_id, mobile)


async def register_customer(core: LendingCore, command: Command, person: Person) -> Done:
    """Register a person: 201 when new, 200 with the same id when known (what is stored stays).

    Then identity vendors are asked for what is not passed. What could not be kept is asked
    for again when the request is repeated; what no vendor could answer, by POST /v1/identity-checks.
    """
    customer_id = derive_customer_id(core.vault.customer_id_key, person.id_number)
    slot = core.slot_of_customer(customer_id)
    cell = core.cell_of_customer(customer_id)
    row = _seal_row(core, customer_id, person) | {"slot": slot, "key": command.key}

    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        inserted = await connection.execute(_INSERT, row)
        is_new = await inserted.fetchone() is not None
        told = Told("customer.registered", customer_id, {"customer_id": customer_id, "new": is_new})
        body = {"customer_id": customer_id, "cell": cell}
        return await finish_command(connection, claim, 201 if is_new else 200, body, told)

    done = await run_command(core, cell, command, work)
    if core.vendors is not None:
        # The person is registered whatever becomes of the check: its failure is none of this command.
        with suppress(CellUnavailable):
            await verify_identity(core, _check_of(core, command, customer_id), customer_id)
    return done


def _check_of(core: LendingCore, command: Command, customer_id: str) -> Command:
    """Return the command of the check that follows a registration: one a registration, whoever repeats it."""
    key = f"identity-{compute_sm3(command.key.encode()).hex()[:40]}"
    return make_command(core, key, "identity-check", {"customer_id": customer_id})


def _seal_row(core: LendingCore, customer_id: str, person: Person) -> dict[str, Any]:
    vault = core.vault.now()  # a row is sealed by one key version, also while versions change
    return {
        "customer_id": customer_id,
        "region": province(person.id_number),
        "name": vault.encrypt(CUSTOMER_NAME, customer_id, person.name),
        "id_number": vault.encrypt(CUSTOMER_ID_NUMBER, customer_id, person.id_number),
        "id_number_index": vault.blind_index(CUSTOMER_ID_NUMBER, person.id_number),
        "phone": vault.encrypt(CUSTOMER_PHONE, customer_id, person.phone),
        "phone_index": vault.blind_index(CUSTOMER_PHONE, person.phone),
    }


async def show_customer(core: LendingCore, customer_id: str) -> Done:
    """Return a customer with every personal field masked; Refused (404) when there is none."""
    if not is_customer_id(customer_id):
        raise Refused(Kind.NOT_FOUND, "There is no such customer.")
    cell = core.cell_of_customer(customer_id)

    async def work(connection: Connection, epoch: int) -> Answer:
        rows = await connection.execute(_SELECT, [customer_id])
        row = await rows.fetchone()
        if row is None:
            raise Refused(Kind.NOT_FOUND, "There is no such customer.")
        body = {"customer_id": customer_id, "cell": cell}
        for column, stored in zip((CUSTOMER_NAME, CUSTOMER_ID_NUMBER, CUSTOMER_PHONE), row, strict=True):
            clear = core.vault.decrypt(column, customer_id, stored)
            body[column.name] = mask(clear, column.shape, column.data_class)
        return Answer(200, body, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)
