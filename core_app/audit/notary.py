"""A site's notary: seals each cell's new audit entries, signs checkpoints of all cells, remembers them.

Both sites have one. The one where a cell is written seals it; the other does too, less often, so that a
dead notary leaves nothing unsealed. Who comes second finds less to do.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg

from compliance.audit.chain import Sealing
from compliance.audit.checkpoint import Checkpoint, Mark, Statement, begin_checkpoints
from compliance.audit.signing import Signer
from compliance.audit.store import CellLook, Sealed, keep_checkpoint, look, seal_next
from core_app.audit.memory import Memory, read_memory, write_memory
from core_app.audit.settings import NotarySettings
from core_app.core import Connection, Routed
from core_app.router import CellUnavailable
from replication.model import Site, other_data_site
from replication.settings import CellSettings

_log = logging.getLogger(__name__)


class NotaryRouter(Protocol):
    """What a notary needs of a router that works as biyi_audit."""

    async def write(
        self, cell: str, work: Callable[[Connection, int], Awaitable[Any]], *, deadline_seconds: float = 10.0
    ) -> Routed[Any]:
        """Run `work` in a transaction and commit it; may run it again. CellUnavailable when it cannot."""

    def site(self, cell: str) -> Site | None:
        """Return where the cell is written now."""


@dataclass(frozen=True, slots=True)
class Clerk:
    """Whose notary this is: the site, all cells, the site's key, its memory's file, the clock (ISO 8601)."""

    site: Site
    cells: tuple[CellSettings, ...]
    signer: Signer
    memory: Path
    read_now: Callable[[], str]

    def chain_cell(self, site: Site) -> str:
        """Return the cell that keeps a site's checkpoints: the first at home there, else the first."""
        return next((c.name for c in self.cells if c.home is site), self.cells[0].name)


@dataclass(slots=True)
class Notary:
    """One site's notary; `newest` and `lost` are what its status shows."""

    router: NotaryRouter
    clerk: Clerk
    settings: NotarySettings = field(default_factory=NotarySettings)
    newest: Checkpoint | None = None
    lost: dict[str, Mark] = field(default_factory=dict)
    sealed: int = 0

    async def run(self) -> None:
        """Seal and sign until cancelled; what a cell or etcd cannot do now is tried again."""
        async with asyncio.TaskGroup() as group:
            for cell in self.clerk.cells:
                group.create_task(self._keep_sealing(cell.name))
            group.create_task(self._keep_signing())

    async def _keep_sealing(self, cell: str) -> None:
        while True:
            with contextlib.suppress(CellUnavailable, psycopg.Error):
                while (await self.seal(cell)).more:
                    pass
            near = self.router.site(cell) is self.clerk.site
            await asyncio.sleep(self.settings.seal_every_s if near else self.settings.seal_far_every_s)

    async def _keep_signing(self) -> None:
        while True:
            try:
                signed = await self.sign()
            except (CellUnavailable, psycopg.Error) as error:
                _log.warning("no checkpoint: %s", type(error).__name__)
                signed = None
            await asyncio.sleep(self.settings.checkpoint_every_s if signed else self.settings.seal_every_s)

    async def seal(self, cell: str) -> Sealed:
        """Seal the next block of a cell; CellUnavailable when it is served nowhere."""

        async def work(connection: Connection, epoch: int) -> Sealed:
            sealing = Sealing(cell, "", epoch, str(self.clerk.site), self.clerk.read_now())
            return await seal_next(connection, sealing)

        done: Sealed = (await self.router.write(cell, work, deadline_seconds=self.settings.deadline_s)).value
        self.sealed += done.entries
        return done

    async def sign(self) -> Checkpoint | None:
        """Sign a checkpoint of all cells that answer and keep it; None when its own cell does not answer."""
        memory = await asyncio.to_thread(read_memory, self.clerk.memory)
        looks = await self._look_at_all(memory)
        own = looks.get(self.clerk.chain_cell(self.clerk.site))
        if own is None:
            return None
        checkpoint = await asyncio.to_thread(self._compose, memory, looks, own)

        async def work(connection: Connection, epoch: int) -> bool:
            return await keep_checkpoint(connection, checkpoint)

        cell = self.clerk.chain_cell(self.clerk.site)
        kept = await self.router.write(cell, work, deadline_seconds=self.settings.deadline_s)
        if not kept.value:
            _log.warning("checkpoint %s is another one's: looking again", checkpoint.mark.number)
            return None
        await asyncio.to_thread(write_memory, self.clerk.memory, _remember(memory, checkpoint))
        self.newest = checkpoint
        self.lost |= checkpoint.statement.lost
        if checkpoint.statement.lost:
            _log.error("signed history is gone: %s", dict(checkpoint.statement.lost))
        return checkpoint

    async def _look_at_all(self, memory: Memory) -> dict[str, CellLook]:
        """Look at every cell in a committed transaction of its own; cells that do not answer are left out."""

        async def look_at(cell: str) -> CellLook | None:
            mark = memory.cells.get(cell)

            async def work(connection: Connection, epoch: int) -> CellLook:
                return await look(connection, cell, mark.number if mark else 0)

            try:
                done = await self.router.write(cell, work, deadline_seconds=self.settings.deadline_s)
            except (CellUnavailable, psycopg.Error):
                return None
            found: CellLook = done.value
            return found

        names = [cell.name for cell in self.clerk.cells]
        found = await asyncio.gather(*(look_at(name) for name in names))
        return {name: one for name, one in zip(names, found, strict=True) if one is not None}

    def _compose(self, memory: Memory, looks: Mapping[str, CellLook], own: CellLook) -> Checkpoint:
        site, peer = str(self.clerk.site), str(other_data_site(self.clerk.site))
        lost = {
            cell: mark
            for cell, mark in memory.cells.items()
            if cell in looks and looks[cell].remembered != mark.hash
        }
        newest = own.newest.get(site)
        before = newest.mark if newest else begin_checkpoints(site)
        if (mine := memory.checkpoints.get(site)) and mine.number > before.number:
            lost[f"checkpoints of {site}"] = mine
        peers = looks.get(self.clerk.chain_cell(other_data_site(self.clerk.site)))
        anchor = peers.newest.get(peer) if peers else None
        now = self.clerk.read_now()
        statement = Statement(
            site=site,
            number=before.number + 1,
            at=max(now, newest.at) if newest else now,
            key=self.clerk.signer.key_id,
            previous=before.hash,
            cells={cell: one.head for cell, one in looks.items()},
            anchor=anchor.mark if anchor else None,
            lost=lost,
        )
        line = statement.to_line()
        return Checkpoint(statement, line, self.clerk.signer.sign(line.encode()))


def _remember(memory: Memory, checkpoint: Checkpoint) -> Memory:
    statement = checkpoint.statement
    return Memory(
        memory.cells | {cell: at.mark for cell, at in statement.cells.items()},
        memory.checkpoints | {statement.site: checkpoint.mark},
    )
