"""Who hangs together: connected components over shared devices, networks, addresses, phones. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from core_app.documents import compute_sm3

Edge = tuple[str, bytes]
"""A customer and a value that they came with; the value is a keyed index with its kind in front."""

DENSITY_DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Component:
    """Customers that hang together; `density` is the share of all pairs that share a value directly."""

    name: str
    customers: tuple[str, ...]
    density: float


def find_components(edges: Iterable[Edge], max_sharers: int) -> tuple[Component, ...]:
    """Return the components of two customers or more, largest first.

    A value with more than `max_sharers` customers joins nobody. The result depends on the set of edges
    only, not on their order.
    """
    sharers: dict[bytes, set[str]] = defaultdict(set)
    for customer, value in edges:
        sharers[value].add(customer)
    groups = [group for group in sharers.values() if 2 <= len(group) <= max_sharers]
    parent: dict[str, str] = {customer: customer for group in groups for customer in group}

    def find(customer: str) -> str:
        while parent[customer] != customer:
            parent[customer] = parent[parent[customer]]
            customer = parent[customer]
        return customer

    for group in groups:
        first, *others = group
        for other in others:
            parent[find(other)] = find(first)
    members: dict[str, set[str]] = defaultdict(set)
    for customer in parent:
        members[find(customer)].add(customer)
    pairs: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for group in groups:
        pairs[find(next(iter(group)))].update(combinations(sorted(group), 2))
    found = [_component(group, len(pairs[root])) for root, group in members.items()]
    return tuple(sorted(found, key=lambda one: (-len(one.customers), one.name)))


def _component(group: set[str], joined: int) -> Component:
    customers = tuple(sorted(group))
    possible = len(customers) * (len(customers) - 1) // 2
    name = compute_sm3("\n".join(customers).encode()).hex()[:16]
    return Component(name, customers, round(joined / possible, DENSITY_DECIMALS))
