"""What contracts hold of the tree: reserved at the contract, used at the draw, given back after.

Each function is part of its caller's transaction and sends one statement; those that can refuse cost
the one round trip that their answer takes. Order of locks: contract, hold, node `customer`, nodes below.
"""

import datetime as dt
from dataclasses import dataclass

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


async def consume(connection: Connection, draw: Hold) -> None:
    """Turn what the contract reserved into use; Refused (409) by a cut limit or the product's draw rules."""
    limits = draw.product.limits
    if draw.amount_fen < limits.draw_min_fen:
        raise refuse_conflict(_CONTRACT, f"limit.draw_min: {draw.amount_fen}", f">= {limits.draw_min_fen}")
    values = {
        "contract_id": draw.contract_id,
        "customer_id": draw.customer_id,
        "product": draw.product.id,
        "amount_fen": draw.amount_fen,
        "today": draw.today,
    }
    moved = await connection.execute(store.CONSUME, values)
    counted = await connection.execute(store.COUNT_DRAWS, values)
    rows = await store.fetch_nodes(moved)
    if not rows:
        found = "limit.hold: too little is left of the contract's amount, or its validity has ended"
        raise refuse_conflict(_CONTRACT, found, "a contract with room that is still valid")
    for breach in find_used_breaches(rows.values()):
        raise refuse_breach(_CONTRACT, breach, "draw")
    today, open_now = await counted.fetchone() or (0, 0)
    for rule, count, most in (
        ("limit.draws_per_day", today, limits.draws_per_day),
        ("limit.open_draws", open_now, limits.open_draws),
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
