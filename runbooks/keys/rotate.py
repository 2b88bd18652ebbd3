"""Rotate a table's key while both sites write; cut off anywhere, the same command goes on.

The order is `compliance.protection.rotation`'s; here are the waits that make it safe:

- *Writers.* A request may have sealed its row with the version before and still be waiting for its cell. A
  version is closed only when every such request has its answer: `WRITERS_S` after the promotion.
- *Proof.* A closed version is refused by each cell from the commit on. What began earlier is waited for, then
  the rows are counted: none under an old version, and none can come.
- *Readers.* Who has read a row just before it was re-wrapped opens it a moment later: `READERS_S` more.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compliance.protection.held_keys import LOOK_EVERY_S
from compliance.protection.ring import State
from compliance.protection.ring_keeper import RingKeeper
from compliance.protection.rotation import Next, Step, decide_rotation
from compliance.protection.vault import Vault
from core_app.customers.reseal import TABLE, VersionUse, close_versions, count_uses, reseal_batch
from replication.settings import SiteSettings
from runbooks.keys.cells import Connection, run_in_cell

REQUEST_S = 10.0
"""Longest time from sealing a row to its commit or refusal. Source: ApiSettings.deadline_seconds."""
WRITERS_S = REQUEST_S + LOOK_EVERY_S + 0.3
"""Source: the longest request, and how late a process notices a new primary; 0.3 s for a busy machine."""
READERS_S = 4.0
"""Source: a transaction lasts 3 s at most (decision 006), and what it read is opened right after it."""
HORIZON_S = 30.0
"""Patience with transactions that began before a version was closed. Source: our choice; the core's end
after 3 s, only a person's session can be older."""
_BATCH_ROWS = 200
"""Rows re-wrapped in a transaction. Source: our choice; some 30 ms, which is how long a row is locked."""


class RotationStuck(Exception):
    """The rotation could not go on; the message says at which step, and what to do."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one cell showed after the old versions were closed: rows under them, and where in its WAL."""

    rows_left: int
    shredded_left: int
    closed: tuple[int, ...]
    lsn: str


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did. `proofs` by cell; `rows` re-wrapped by this run."""

    table: str
    version: int
    steps: tuple[str, ...]
    rows: int
    proofs: Mapping[str, Proof]


@dataclass(slots=True)
class Rotation:
    """One rotation of `core.customers`: both keepers, a vault that follows a ring, and the cells."""

    keepers: Mapping[str, RingKeeper]
    vault: Vault
    settings: SiteSettings
    rows_per_second: float
    say: Callable[[str], None]
    advance: Callable[[int, int], None]
    """Told how many rows are done and how many there are in all."""
    rows: int = 0
    promoted_s: float = 0.0

    async def run(self, *, begin: bool = True) -> Rotated:
        """Begin a rotation unless one is under way, and carry it through; RotationStuck, CellSilent."""
        if begin and self._look().step is Step.DONE:
            made = next(iter(self.keepers.values())).grow(TABLE)
            self.say(f"version {made} of {TABLE} is made, decrypt-only")
        steps: list[str] = []
        proofs: Mapping[str, Proof] = {}
        self.promoted_s = time.monotonic()  # of a run that was cut off the instant is not known
        while (following := self._look(proved=bool(proofs))).step is not Step.DONE:
            steps.append(f"{following.step.name.lower()} {following.site or ''} {following.version}".strip())
            if following.step is Step.REWRAP:
                proofs = await self._rewrap()
            else:
                self._change_ring(following)
        return Rotated(TABLE, self._newest(), tuple(steps), self.rows, proofs)

    def _look(self, *, proved: bool = False) -> Next:
        return decide_rotation(self._states(), no_row_left=proved)

    def _states(self) -> dict[str, dict[int, State]]:
        heads = {site: keeper.head().states[TABLE] for site, keeper in self.keepers.items()}
        return {site: {int(v): State(s) for v, s in states.items()} for site, states in heads.items()}

    def _newest(self) -> int:
        return max(version for states in self._states().values() for version in states)

    def _old(self) -> list[int]:
        return sorted(
            {v for states in self._states().values() for v, state in states.items() if state is State.OLD}
        )

    def _change_ring(self, following: Next) -> None:
        site, version = following.site or "", following.version or 0
        keeper = self.keepers[site]
        if following.step is Step.SEND:
            holder = next(s for s, states in self._states().items() if version in states)
            keeper.receive(TABLE, self.keepers[holder].send(TABLE, version))
            self.say(f"{site} has version {version} and acknowledges it")
        elif following.step is Step.PROMOTE:
            keeper.promote(TABLE, version)
            self.promoted_s = time.monotonic()
            self.say(f"{site} seals with version {version}")
        else:
            keeper.retire(TABLE, version)
            self.say(f"{site} has retired version {version}")

    async def _rewrap(self) -> Mapping[str, Proof]:
        await asyncio.sleep(2 * LOOK_EVERY_S)
        await self._rewrap_cells()
        await asyncio.sleep(max(0.0, self.promoted_s + WRITERS_S - time.monotonic()))
        await self._rewrap_cells()  # what was still sealed with the version before meanwhile
        old = self._old()
        proofs = {cell: await self._prove(cell, old) for cell in self._cells()}
        self.say(f"no row under {', '.join(map(str, old))} in {len(proofs)} cells, and none can come")
        await asyncio.sleep(READERS_S)
        return proofs

    async def _rewrap_cells(self) -> None:
        old = self._old()
        left = {cell: await run_in_cell(self.settings, cell, count_uses) for cell in self._cells()}
        total = self.rows + sum(_rows_under(uses, old) for uses in left.values())
        for cell in self._cells():
            for version in old:
                work = functools.partial(reseal_batch, vault=self.vault, version=version, limit=_BATCH_ROWS)
                while done := await run_in_cell(self.settings, cell, work):
                    self.rows += done
                    self.advance(self.rows, max(total, self.rows))
                    await asyncio.sleep(done / self.rows_per_second)

    async def _prove(self, cell: str, old: list[int]) -> Proof:
        """Close the old versions in a cell, outwait what began before, re-wrap what came meanwhile, count."""

        async def close(connection: Connection) -> int:
            await close_versions(connection, old)
            rows = await connection.execute("select pg_current_xact_id()::text::bigint")
            row = await rows.fetchone()
            assert row is not None  # noqa: S101 - a query without a from-clause gives one row
            return int(row[0])

        closed_by = await run_in_cell(self.settings, cell, close)
        end = time.monotonic() + HORIZON_S
        while await run_in_cell(self.settings, cell, _oldest_running) <= closed_by:
            if time.monotonic() > end:
                raise RotationStuck(
                    f"cell {cell}: a transaction older than {HORIZON_S:.0f} s may still write under "
                    f"{', '.join(map(str, old))}; end it, then run the same command again"
                )
            await asyncio.sleep(0.2)
        await self._rewrap_cells()
        uses, lsn = await run_in_cell(self.settings, cell, _count_at)
        left = _rows_under(uses, old)
        if left:
            raise RotationStuck(
                f"cell {cell}: {left} rows are still under {', '.join(map(str, old))}, held by other "
                "transactions; run the same command again"
            )
        return Proof(left, sum(uses[v].shredded for v in old if v in uses), tuple(old), lsn)

    def _cells(self) -> list[str]:
        return [cell.name for cell in self.settings.cells]


def _rows_under(uses: Mapping[int, VersionUse], versions: list[int]) -> int:
    return sum(use.rows for version, use in uses.items() if version in versions)


async def _oldest_running(connection: Connection) -> int:
    rows = await connection.execute("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    row: Any = await rows.fetchone()
    return int(row[0])


async def _count_at(connection: Connection) -> tuple[dict[int, VersionUse], str]:
    rows = await connection.execute("select pg_current_wal_lsn()::text")
    row: Any = await rows.fetchone()
    return await count_uses(connection), str(row[0])
