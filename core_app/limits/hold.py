"""What contracts hold of the tree: reserved at the contract, used at the draw, given back after.

Each function but `check_draw` is part of its caller's transaction and sends one statement; those that can
refuse cost the one round trip that their answer takes. Order of locks: contract, hold, node `customer`, nodes
below.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from core_app.business_calendar import add_months
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_conflict
from core_app.limits import store
from core_app.limits.tree import Breach, Node, NodeRow, find_group_fen, find_path, find_used_breaches, is_line
from core_app.products.model import Product

_CONTRACT = "body.contract_id"


@dataclass(frozen=True, slots=True)
class Hold:
    """An amount of a contract, to be reserved or drawn: whose, of which product, on which business date."""

    contract_id: str
    customer_id: str
    product: Product
    amount_fen: int
    today: dt.date


def path_of(core: LendingCore, product: Product, today: dt.date) -> tuple[Node, ...]:
    """Return the nodes a contract of `product` counts at, with the limits of law and documents on `today`."""
    on_sale = (core.catalogue.find_on_sale(name, today) for name in core.catalogue.ids_on_sale(today))
    group_fen = find_group_fen(product, [one for one in on_sale if one is not None])
    return find_path(product, core.catalogue.legal_line_fen(today), group_fen)


async def reserve(connection: Connection, wanted: Hold, path: tuple[Node, ...]) -> dict[str, NodeRow]:
    """Reserve at every node of the path under lock; returns the nodes as they are with it.

    The caller compares them with the limits and refuses, which takes everything back.
    """
    values = {
        "contract_id": wanted.contract_id,
        "customer_id": wanted.customer_id,
        "nodes": [node.name for node in path],
        "amount_fen": wanted.amount_fen,
        "today": wanted.today,
        "line": is_line(wanted.product),
        "valid_to": add_months(wanted.today, wanted.product.limits.validity_months),
    }
    return await store.fetch_nodes(await connection.execute(store.RESERVE, values))


class Drawable(Protocol):
    """A contract under its lock: what is left of it, its nodes before the draw, and its customer's draws."""

    @property
    def reserved_fen(self) -> int: ...  # noqa: D102
    @property
    def valid_to(self) -> dt.date: ...  # noqa: D102
    @property
    def today(self) -> dt.date: ...  # noqa: D102
    @property
    def nodes(self) -> Sequence[NodeRow]: ...  # noqa: D102
    @property
    def draws_today(self) -> int: ...  # noqa: D102
    @property
    def draws_open(self) -> int: ...  # noqa: D102


def check_draw(product: Product, contract: Drawable, amount_fen: int) -> None:
    """Refuse (409) what a cut limit, the validity or the product's draw rules forbid."""
    limits = product.limits
    if amount_fen < limits.draw_min_fen:
        raise refuse_conflict(_CONTRACT, f"limit.draw_min: {amount_fen}", f">= {limits.draw_min_fen}")
    if amount_fen > contract.reserved_fen or contract.valid_to < contract.today:
        found = "limit.hold: too little is left of the contract's amount, or its validity has ended"
        raise refuse_conflict(_CONTRACT, found, "a contract with room that is still valid")
    for breach in find_used_breaches(
        replace(row, used_fen=row.used_fen + amount_fen) for row in contract.nodes
    ):
        raise refuse_breach(_CONTRACT, breach, "draw")
    for rule, count, most in (
        ("limit.draws_per_day", contract.draws_today, limits.draws_per_day),
        ("limit.open_draws", contract.draws_open, limits.open_draws),
    ):
        if count + 1 > most:
            raise refuse_conflict(_CONTRACT, f"{rule}: {count + 1} with this draw", f"<= {most}")


def refuse_breach(path: str, breach: Breach, what: str) -> Exception:
    """Return the refusal of a passed limit, with its rule, what was found and the limit."""
    return refuse_conflict(
        path, f"{breach.rule}: {breach.found_fen} fen with this {what}", f"<= {breach.limit_fen}"
    )


async def release(connection: Connection, loan_id: str, principal_fen: int) -> None:
    """Give back what a repayment paid of the principal; negative when a repayment is reversed.

    Nothing is fetched: in a pipeline it costs no round trip. Under a line it is reserved again.
    """
    await connection.execute(store.RELEASE, {"loan_id": loan_id, "principal_fen": principal_fen})


async def expire_next(connection: Connection, today: dt.date) -> str | None:
    """Give back what the contract longest past its validity still reserves; None when there is none.

    `today` is the calendar's day, for a cell whose business date is not set.
    """
    due = await connection.execute(store.NEXT_TO_EXPIRE, {"today": today})
    row = await due.fetchone()
    if row is None:
        return None
    await connection.execute(store.EXPIRE, {"contract_id": row[0]})
    return str(row[0])
