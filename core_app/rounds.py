"""Go round the cells for what is due in them, as a process that one may run of at each site does."""

import asyncio
from collections.abc import Awaitable, Callable

from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable

from core_app.core import LendingCore
from core_app.router import CellUnavailable


async def go_round(
    core: LendingCore, look: Callable[[str], Awaitable[int]], batch: int, pause_s: float
) -> None:
    """Look at each cell, again at once while a look takes `batch`, until it is cancelled.

    `pause_s` lies between two rounds. A cell without an answer, or not migrated yet, is looked at in the
    next one.
    """
    while True:
        for cell in core.router.cells:
            try:
                while await look(cell) == batch:
                    pass
            except (CellUnavailable, UndefinedTable, UndefinedColumn, InsufficientPrivilege):
                continue
        await asyncio.sleep(pause_s)
