"""A process that runs the day-end of one cell on a bare PostgreSQL, for tests that kill it.

Arguments: the DSN of the cell's database, its name, the business date. Exit 0 when the day is closed.
"""

import asyncio
import datetime as dt
import sys
import uuid

from psycopg_pool import AsyncConnectionPool

from compliance.protection.keys import RootKey
from compliance.protection.vault import make_vault
from core_app.core import LendingCore
from core_app.day_end.service import DayEnd
from core_app.products.catalogue import read_catalogue
from tests.integration.core_app.conftest import DirectRouter


async def main(dsn: str, cell: str, day: dt.date) -> None:
    async with AsyncConnectionPool(dsn, min_size=4, max_size=4, open=False) as pool:
        core = LendingCore(
            router=DirectRouter({"a": pool, "b": pool}),
            vault=make_vault(RootKey(1, bytes(range(32))), lambda: bytes(12)),
            catalogue=read_catalogue(),
            site="idc",
            deadline_seconds=10.0,
            new_uuid=uuid.uuid4,
            read_today=lambda: day,
        )
        await DayEnd(core, cell, lambda *_: None).run(day)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], dt.date.fromisoformat(sys.argv[3])))
