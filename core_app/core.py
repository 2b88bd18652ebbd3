"""What every service of the core is handed: the router, the vault, the products, ids and the day.

Values and Protocols only. The router is described here by what the services need of it, so that
they can be run against any PostgreSQL.
"""

import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import psycopg

from compliance.protection.vault import Vault
from core_app.customers.document_reader import DocumentReader
from core_app.customers.identity_vendor import IdentityVendor
from core_app.decisions.bureau import Bureau
from core_app.decisions.outside_source import OutsideSource
from core_app.decisions.risk import Risk, read_risk
from core_app.directory import Directory
from core_app.ids import Letter, make_routed_id, slot_of_id
from core_app.products.catalogue import Catalogue
from core_app.slots import Home, chunk_of_slot, compute_slot

Connection: TypeAlias = psycopg.AsyncConnection[Any]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Routed(Protocol[T_co]):
    """What a transaction returned, and the epoch it was committed or read in."""

    @property
    def value(self) -> T_co:
        """Return what the work returned."""

    @property
    def epoch(self) -> int:
        """Return the epoch of the cell."""


class CellRouter(Protocol):
    """Runs one transaction on a cell's current primary; may run `work` again in a newer epoch.

    A `core_app.slots.Home` in place of a cell's name: on the cell that has its chunks then.
    """

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the cells in slot order."""

    @property
    def directory(self) -> Directory:
        """Return which cell has which slots, as far as this process was told."""

    async def write(
        self, cell: str, work: Callable[[Connection, int], Awaitable[T]], *, deadline_seconds: float = 10.0
    ) -> Routed[T]:
        """Run `work` in a transaction and commit it; exceptions of `work` roll back and pass through."""

    async def read(
        self, cell: str, work: Callable[[Connection, int], Awaitable[T]], *, deadline_seconds: float = 10.0
    ) -> Routed[T]:
        """Run `work` in a read-only transaction."""


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - the process's clock, unless a test gives another


@dataclass(frozen=True, slots=True)
class LendingCore:
    """One process's core. `site` is written beside each command for evidence, never decided on.

    `read_elapsed` is a monotonic clock in seconds: the budgets of decision steps are measured by it.
    `read_now` is the instant (aware) at which a debtor is contacted or a complaint comes in.
    `vendors` check identities, in this order; with none no product that needs a check gives a limit. None:
    this process asks for no evidence of identity (tools and benches; the API always has its vendors).
    """

    router: CellRouter
    vault: Vault
    catalogue: Catalogue
    site: str
    deadline_seconds: float
    new_uuid: Callable[[], uuid.UUID]
    read_today: Callable[[], dt.date]
    bureau: Bureau | None = None
    vendors: tuple[IdentityVendor, ...] | None = None
    sources: tuple[OutsideSource, ...] = ()
    reader: DocumentReader | None = None
    risk: Risk = field(default_factory=read_risk)
    read_elapsed: Callable[[], float] = time.monotonic
    read_now: Callable[[], dt.datetime] = _read_now

    def slot_of_customer(self, customer_id: str) -> int:
        """Return the slot of a customer."""
        return compute_slot(self.vault.slot_key, customer_id)

    def chunk_of_customer(self, customer_id: str) -> int:
        """Return the chunk of slots whose business date is the customer's."""
        return chunk_of_slot(self.slot_of_customer(customer_id))

    def chunk_of_loan(self, loan_id: str) -> int:
        """Return the chunk of slots whose business date is a loan's; 0 for what is no loan id."""
        return chunk_of_slot(slot_of_id(Letter.LOAN, loan_id) or 0)

    def cell_of_customer(self, customer_id: str) -> Home:
        """Return the cell a customer lives in."""
        return self.cell_of_slot(self.slot_of_customer(customer_id))

    def cell_of_id(self, letter: Letter, text: str) -> Home | None:
        """Return the cell a routed id points to, or None when it is no id of that kind."""
        slot = slot_of_id(letter, text)
        return None if slot is None else self.cell_of_slot(slot)

    def cell_of_slot(self, slot: int) -> Home:
        """Return the cell that has a slot."""
        return Home(self.router.directory.cell_of_slot(slot), (chunk_of_slot(slot),))

    def new_id(self, letter: Letter, slot: int) -> str:
        """Return a fresh id in `slot`."""
        return make_routed_id(letter, slot, self.new_uuid())
