"""The one function that changes a grant; imported by `replication.failover.act` alone."""

from typing import Protocol

from replication.etcd import Outcome
from replication.grants import BORN, GRANTS
from replication.model import Grant


class Register(Protocol):
    """A register with compare-and-swap: `replication.etcd.Etcd`, or the simulator's model of it."""

    async def swap(self, key: str, value: str, mod_revision: int, *, once: str | None = None) -> Outcome:
        """Write `key` only if its last change was `mod_revision` (0: there must be none).

        `once`: a key that must never have been written; it is written with it.
        """


async def swap_grant(etcd: Register, grant: Grant, revision: int) -> Outcome:
    """Replace the cell's grant if it still is at `revision` (0: the cell must never have had one).

    A first grant that arrives late must not stand in for one that was lost meanwhile
    (docs/decisions/090).
    """
    once = None if revision else BORN + grant.cell
    return await etcd.swap(GRANTS + grant.cell, grant.to_json(), revision, once=once)
