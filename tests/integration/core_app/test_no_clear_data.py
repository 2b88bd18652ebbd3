"""Canaries: no ID number, phone or name in clear anywhere in the database, logs or errors."""

import logging
from typing import Any

import pytest

from tests.integration.core_app.lending import make_person


async def test_no_personal_datum_is_in_the_dump_or_the_log(
    client: Any, cells: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person = make_person() | {"name": "欧阳金丝雀"}
    _, made, _ = await client.post("/v1/customers", person)
    wish = {
        "customer_id": made["customer_id"],
        "product": "instalment-12",
        "amount_fen": 10_000,
        "periods": 3,
    }
    assert (await client.post("/v1/applications", wish))[0] == 201
    await client.post("/v1/customers", person | {"phone": "1"})
    dumps = [
        cells.server.run("pg_dump", "-U", "biyi_admin", "-d", database)
        for database in cells.databases.values()
    ]
    text = "".join(dumps)
    assert made["customer_id"] in text
    for datum in person.values():
        assert datum not in text
        assert datum.encode().hex() not in text
        assert datum not in caplog.text
