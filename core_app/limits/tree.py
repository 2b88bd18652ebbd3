"""The tree of a customer's limits and what stands in it. Pure.

A contract counts at every node of its product's path: customer, group shared with other products,
product, scene. At each node the lowest of the limits known holds: the law's or the product document's,
and what staff or an earlier decision set. A temporary increase lifts the product's node for its days,
never the customer's.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core_app.products.model import Product

CUSTOMER = "customer"


class Level(enum.StrEnum):
    """Levels of the tree, from the top."""

    CUSTOMER = "customer"
    GROUP = "group"
    PRODUCT = "product"
    SCENE = "scene"


RULE_OF_LEVEL = {
    Level.CUSTOMER: "limit.customer",
    Level.GROUP: "limit.group",
    Level.PRODUCT: "product.limit_per_customer",
    Level.SCENE: "limit.scene",
}
TIER_RULE = "tier.limit"


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a product's path: its name, and the limit of law or document, None where there is none."""

    name: str
    document_fen: int | None

    @property
    def level(self) -> Level:
        """Return the level the node is of."""
        return level_of(self.name)


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as stored: what was set, what contracts reserve, what draws use, today's temporary increase."""

    node: str
    limit_fen: int | None
    reserved_fen: int
    used_fen: int
    temporary_fen: int

    @property
    def held_fen(self) -> int:
        """Return all that counts against the limit."""
        return self.reserved_fen + self.used_fen


@dataclass(frozen=True, slots=True)
class Breach:
    """A node whose limit is passed: the rule's id, what would stand there, and its limit, in fen."""

    rule: str
    found_fen: int
    limit_fen: int


def level_of(name: str) -> Level:
    """Return the level of a node's name: `product:instalment-12` is of the level product."""
    return Level(name.partition(":")[0])


def find_path(product: Product, legal_line_fen: int, group_fen: int | None) -> tuple[Node, ...]:
    """Return the nodes a contract of `product` counts at; `group_fen` is the widest limit of its group."""
    limits, scene = product.limits, product.channels.scene
    path = [Node(CUSTOMER, legal_line_fen)]
    if limits.group is not None:
        path.append(Node(f"group:{limits.group}", group_fen))
    path.append(Node(f"product:{product.id}", limits.customer_fen))
    if scene is not None and limits.scene_fen is not None:
        path.append(Node(f"scene:{product.id}/{scene}", limits.scene_fen))
    return tuple(path)


def find_group_fen(product: Product, others: Iterable[Product]) -> int | None:
    """Return the widest limit among the products of the same group, None without a group."""
    group = product.limits.group
    if group is None:
        return None
    members = [product, *(other for other in others if other.limits.group == group)]
    return max(member.limits.customer_fen for member in members)


def is_line(product: Product) -> bool:
    """Say whether a contract is a line: what is repaid under it may be drawn again under it."""
    return product.limits.revolving and product.schedule.method == "anytime"


def limit_at(node: Node, row: NodeRow | None) -> int | None:
    """Return the limit in force at a node, None where there is none."""
    known = [fen for fen in (node.document_fen, row.limit_fen if row else None) if fen is not None]
    if not known:
        return None
    # The customer's node carries the legal line: nothing temporary lifts it.
    return min(known) + (row.temporary_fen if row and node.level is not Level.CUSTOMER else 0)


def find_breaches(
    path: Sequence[Node],
    rows: Mapping[str, NodeRow],
    amount_fen: int = 0,
    *,
    tier_limit_fen: int | None = None,
) -> tuple[Breach, ...]:
    """Return the nodes at which what is held and `amount_fen` more pass the limit, from the top.

    `tier_limit_fen` is what the customer's tier may owe in the product, a temporary increase apart. The legal
    line itself is not asked here: it gives its reason as a rule of the law.
    """
    found = []
    for node in path:
        row = rows.get(node.name)
        limit_fen = limit_at(replace(node, document_fen=None) if node.level is Level.CUSTOMER else node, row)
        held_fen = (row.held_fen if row else 0) + amount_fen
        if limit_fen is not None and held_fen > limit_fen:
            found.append(Breach(RULE_OF_LEVEL[node.level], held_fen, limit_fen))
        elif node.level is Level.PRODUCT and tier_limit_fen is not None:
            most_fen = tier_limit_fen + (row.temporary_fen if row else 0)
            if held_fen > most_fen:
                found.append(Breach(TIER_RULE, held_fen, most_fen))
    return tuple(found)


def compute_room_fen(path: Sequence[Node], rows: Mapping[str, NodeRow]) -> int:
    """Return how much more fits at every node of the path, at least 0."""
    rooms = [
        limit_fen - (rows[node.name].held_fen if node.name in rows else 0)
        for node in path
        if (limit_fen := limit_at(node, rows.get(node.name))) is not None
    ]
    return max(0, min(rooms))


def find_used_breaches(rows: Iterable[NodeRow]) -> tuple[Breach, ...]:
    """Return the nodes whose use passes what was set there: a limit that was cut stops draws too.

    What is only reserved does not count against a cut: the contract stands, its draw waits.
    """
    return tuple(
        Breach(RULE_OF_LEVEL[level_of(row.node)], row.used_fen, row.limit_fen + row.temporary_fen)
        for row in rows
        if row.limit_fen is not None and row.used_fen > row.limit_fen + row.temporary_fen
    )
