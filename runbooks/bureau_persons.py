"""Names and ID numbers for the credit bureau's records: opened from the sealed rows for that alone."""

from collections.abc import Mapping, Sequence

from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_NAME
from core_app.core import Connection, LendingCore

_SEALED = "select customer_id, name, id_number from core.customers where customer_id = any(%s)"


async def read_persons(core: LendingCore, cell: str, ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Return name and id_number of each customer that is there and was not shredded, by id."""

    async def work(connection: Connection, _epoch: int) -> list[tuple[str, bytes, bytes]]:
        return await (await connection.execute(_SEALED, [list(ids)])).fetchall()

    rows = (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value
    return {
        customer_id: {
            "name": core.vault.decrypt(CUSTOMER_NAME, customer_id, name),
            "id_number": core.vault.decrypt(CUSTOMER_ID_NUMBER, customer_id, id_number),
        }
        for customer_id, name, id_number in rows
    }
