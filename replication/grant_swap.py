"""The one function that changes a grant; imported by `replication.failover.act` alone."""

from replication.etcd import Etcd, Outcome
from replication.grants import GRANTS
from replication.model import Grant


async def swap_grant(etcd: Etcd, grant: Grant, revision: int) -> Outcome:
    """Replace the cell's grant if it still is at `revision` (0: there must be none yet)."""
    return await etcd.swap(GRANTS + grant.cell, grant.to_json(), revision)
