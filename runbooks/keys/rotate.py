"""Rotate the keys of all sealed tables while both sites write; cut off anywhere, the same command goes on.

The order is `compliance.protection.rotation`'s; here are the waits that make it safe:

- *Writers.* A request may have sealed its row with the version before and still be waiting for its cell. A
  version is closed only when every such request has its answer: `WRITERS_S` after the promotion.
- *Proof.* A closed version is refused by each cell from the commit on. What began earlier is waited for, then
  the values of every sealed column of the register are counted: none under an old version, and none can come.
- *Readers.* Who has read a row just before it was re-wrapped opens it a moment later: `READERS_S` more.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compliance.protection.held_keys import LOOK_EVERY_S
from compliance.protection.ring import State
from compliance.protection.ring_keeper import RingKeeper
from compliance.protection.rotation import Next, Step, decide_rotation
from compliance.protection.vault import Vault
from core_app.customers.reseal import SEALED_TABLES, close_versions, count_columns, reseal_batch
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
    """What one cell showed after the old versions were closed, and where in its WAL.

    `left` are the values under a closed version by sealed column, `closed` the closed versions by table.
    """

    left: Mapping[str, int]
    closed: Mapping[str, tuple[int, ...]]
    lsn: str

    @property
    def rows_left(self) -> int:
        """Return how many values are left in all columns together: a proof only when there is none."""
        return sum(self.left.values())


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a run did. `versions` that seal now by table, `proofs` by cell; `rows` that it re-wrapped."""

    versions: Mapping[str, int]
    steps: tuple[str, ...]
    rows: int
    proofs: Mapping[str, Proof]


@dataclass(slots=True)
class Rotation:
    """One rotation of every sealed table: both keepers, a vault that follows a ring, and the cells."""

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
        if begin and self._look()[1].step is Step.DONE:
            for table in SEALED_TABLES:
                made = next(iter(self.keepers.values())).grow(table)
                self.say(f"version {made} of {table} is made, decrypt-only")
        steps: list[str] = []
        proofs: Mapping[str, Proof] = {}
        self.promoted_s = time.monotonic()  # of a run that was cut off the instant is not known
        while (look := self._look(proved=bool(proofs)))[1].step is not Step.DONE:
            table, following = look
            what = f"{following.step.name.lower()} {following.site or ''} {table} {following.version}"
            steps.append(" ".join(what.split()))
            if following.step is Step.REWRAP:
                proofs = await self._rewrap()
            else:
                self._change_ring(table, following)
        newest = {
            table: max(v for states in self._states(table).values() for v in states)
            for table in SEALED_TABLES
        }
        return Rotated(newest, tuple(steps), self.rows, proofs)

    def _look(self, *, proved: bool = False) -> tuple[str, Next]:
        """Return the table whose step comes first; rows of all tables are re-wrapped in one go."""
        following = [(t, decide_rotation(self._states(t), no_row_left=proved)) for t in SEALED_TABLES]
        order = list(Step)
        return min(following, key=lambda look: order.index(look[1].step))

    def _states(self, table: str) -> dict[str, dict[int, State]]:
        heads = {site: keeper.head().states[table] for site, keeper in self.keepers.items()}
        return {site: {int(v): State(s) for v, s in states.items()} for site, states in heads.items()}

    def _old(self) -> dict[str, tuple[int, ...]]:
        """Return the versions that only open, by table."""
        found = {}
        for table in SEALED_TABLES:
            sites = self._states(table).values()
            found[table] = tuple(
                sorted({v for one in sites for v, state in one.items() if state is State.OLD})
            )
        return found

    def _change_ring(self, table: str, following: Next) -> None:
        site, version = following.site or "", following.version or 0
        keeper = self.keepers[site]
        if following.step is Step.SEND:
            holder = next(s for s, states in self._states(table).items() if version in states)
            keeper.receive(table, self.keepers[holder].send(table, version))
            self.say(f"{site} has version {version} of {table} and acknowledges it")
        elif following.step is Step.PROMOTE:
            keeper.promote(table, version)
            self.promoted_s = time.monotonic()
            self.say(f"{site} seals {table} with version {version}")
        else:
            keeper.retire(table, version)
            self.say(f"{site} has retired version {version} of {table}")

    async def _rewrap(self) -> Mapping[str, Proof]:
        await asyncio.sleep(2 * LOOK_EVERY_S)
        await self._follow()
        await self._rewrap_cells()
        await asyncio.sleep(max(0.0, self.promoted_s + WRITERS_S - time.monotonic()))
        await self._rewrap_cells()  # what was still sealed with the version before meanwhile
        old = self._old()
        proofs = {cell: await self._prove(cell, old) for cell in self._cells()}
        closed = "; ".join(f"{table}: {_listed(versions)}" for table, versions in old.items() if versions)
        self.say(f"no value under {closed} in {len(proofs)} cells, and none can come")
        await asyncio.sleep(READERS_S)
        return proofs

    async def _follow(self) -> None:
        """Wait until our vault seals under none of the old versions: it would re-wrap the same rows again."""
        end = time.monotonic() + HORIZON_S
        old = self._old()
        while behind := [table for table, version in self._sealing().items() if version in old[table]]:
            if time.monotonic() > end:
                raise RotationStuck(
                    f"this process still seals {', '.join(behind)} under an old version: its ring cannot be "
                    "read (see the log); mend the ring, then run the same command again"
                )
            await asyncio.sleep(LOOK_EVERY_S)

    def _sealing(self) -> dict[str, int]:
        versions = self.vault.now().versions()
        return {table: versions[table] for table in SEALED_TABLES}

    async def _rewrap_cells(self) -> None:
        old = self._old()
        left = {cell: await run_in_cell(self.settings, cell, count_columns) for cell in self._cells()}
        # Columns of a row change together: its table's first column counts the rows.
        firsts = {f"{name}.{table.columns[0].name}" for name, table in SEALED_TABLES.items()}
        total = self.rows + sum(
            count for uses in left.values() for path, count in _under(uses, old).items() if path in firsts
        )
        for cell in self._cells():
            for table, version in ((t, version) for t, versions in old.items() for version in versions):
                work = functools.partial(
                    reseal_batch,
                    vault=self.vault,
                    version=version,
                    limit=_BATCH_ROWS,
                    table=SEALED_TABLES[table],
                )
                while done := await run_in_cell(self.settings, cell, work):
                    self.rows += done
                    self.advance(self.rows, max(total, self.rows))
                    await asyncio.sleep(done / self.rows_per_second)

    async def _prove(self, cell: str, old: Mapping[str, tuple[int, ...]]) -> Proof:
        """Close the old versions in a cell, outwait what began before, re-wrap what came meanwhile, count."""

        async def close(connection: Connection) -> int:
            for table, versions in old.items():
                await close_versions(connection, list(versions), table)
            rows = await connection.execute("select pg_current_xact_id()::text::bigint")
            row = await rows.fetchone()
            assert row is not None  # noqa: S101 - a query without a from-clause gives one row
            return int(row[0])

        closed_by = await run_in_cell(self.settings, cell, close)
        closed = _listed(sorted({version for versions in old.values() for version in versions}))
        end = time.monotonic() + HORIZON_S
        while await run_in_cell(self.settings, cell, _oldest_running) <= closed_by:
            if time.monotonic() > end:
                raise RotationStuck(
                    f"cell {cell}: a transaction older than {HORIZON_S:.0f} s may still write under "
                    f"{closed}; end it, then run the same command again"
                )
            await asyncio.sleep(0.2)
        await self._rewrap_cells()
        uses, lsn = await run_in_cell(self.settings, cell, _count_at)
        left = _under(uses, old)
        if any(left.values()):
            held = ", ".join(f"{count} of {path}" for path, count in left.items() if count)
            raise RotationStuck(
                f"cell {cell}: under {closed} are still {held}, held by other transactions; "
                "run the same command again"
            )
        return Proof(left, old, lsn)

    def _cells(self) -> list[str]:
        return [cell.name for cell in self.settings.cells]


def _under(uses: Mapping[str, Mapping[int, int]], versions: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return how many values of each column are under one of its table's `versions`."""
    return {
        path: sum(count for version, count in found.items() if version in versions[path.rpartition(".")[0]])
        for path, found in uses.items()
    }


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, versions))


async def _oldest_running(connection: Connection) -> int:
    rows = await connection.execute("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    row: Any = await rows.fetchone()
    return int(row[0])


async def _count_at(connection: Connection) -> tuple[dict[str, dict[int, int]], str]:
    rows = await connection.execute("select pg_current_wal_lsn()::text")
    row: Any = await rows.fetchone()
    return await count_columns(connection), str(row[0])
