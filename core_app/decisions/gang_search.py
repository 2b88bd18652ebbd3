"""Find gangs over all cells and keep each cell's part: one read and one write a cell."""

from collections.abc import Sequence
from dataclasses import dataclass

from core_app.core import Connection, LendingCore
from core_app.decisions.gangs import Component, Edge, find_components

_EDGES = """
select distinct e.customer_id, e.kind::bytea || e.value_index from core.evidence e
union
select c.customer_id, 'phone'::bytea || c.phone_index from core.customers c
"""

_KEEP = """
with run as (
    insert into core.gang_runs (run_id, found_on)
    select %(run_id)s, coalesce(b.on_date, %(today)s::date) from core.business_date b
    on conflict do nothing returning run_id
)
insert into core.gang_members (run_id, customer_id, gang, customers, density)
select run.run_id, g.* from run, unnest(%(members)s::text[], %(gangs)s::text[], %(sizes)s::integer[],
    %(densities)s::numeric[]) as g
"""


@dataclass(frozen=True, slots=True)
class Search:
    """One run: what hangs together, and from how many customers of how many values."""

    run_id: str
    components: tuple[Component, ...]
    customers: int
    values: int


async def search_gangs(core: LendingCore, run_id: str) -> Search:
    """Read the edges of every cell, find the components, keep them; CellUnavailable when a cell is missing.

    The same `run_id` again keeps what is there: a run that broke off is repeated as it was.
    """
    edges: list[Edge] = []
    for cell in core.router.cells:
        edges += (await core.router.read(cell, _read_edges, deadline_seconds=core.deadline_seconds)).value
    components = find_components(edges, core.risk.policy.gang.max_sharers)
    for cell in core.router.cells:
        await _keep(core, cell, run_id, components)
    return Search(run_id, components, len({who for who, _ in edges}), len({value for _, value in edges}))


async def _read_edges(connection: Connection, epoch: int) -> list[Edge]:
    rows = await connection.execute(_EDGES)
    return [(customer, bytes(value)) for customer, value in await rows.fetchall()]


async def _keep(core: LendingCore, cell: str, run_id: str, components: Sequence[Component]) -> None:
    own = [
        (customer, one)
        for one in components
        for customer in one.customers
        if core.cell_of_customer(customer) == cell
    ]
    values = {
        "run_id": run_id,
        "today": core.read_today(),
        "members": [customer for customer, _ in own],
        "gangs": [one.name for _, one in own],
        "sizes": [len(one.customers) for _, one in own],
        "densities": [str(one.density) for _, one in own],
    }

    async def work(connection: Connection, epoch: int) -> None:
        await connection.execute(_KEEP, values)

    await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)
