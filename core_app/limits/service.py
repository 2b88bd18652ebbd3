"""Set a limit, show the tree, give a signed contract up: each one transaction on the customer's cell."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused, refuse_conflict, refuse_field
from core_app.ids import Letter, is_customer_id
from core_app.limits import store
from core_app.limits.hold import path_of
from core_app.limits.tree import CUSTOMER, Level, Node, NodeRow, find_group_fen, find_path, limit_at
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.published import ask_on_sale, read_all_on_sale

_TODAY = """
select d.day, c.customer_id
from core.read_day(%s::smallint, %s::date) as d (day) left join core.customers c on c.customer_id = %s
"""


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What staff sets: a limit of a node of the tree (None takes it away), or an increase for some days.

    `product` names the product whose path has the node; at the level customer none is needed.
    """

    customer_id: str
    level: Level
    product: str | None
    amount_fen: int | None
    temporary_from: dt.date | None
    temporary_to: dt.date | None
    reason: str
    staff: str

    @property
    def temporary(self) -> bool:
        """Return whether it ends by itself."""
        return self.temporary_to is not None


async def set_limit(core: LendingCore, command: Command, change: LimitChange) -> Done:
    """Set a limit. A cut below what is owed stands: it stops contracts and draws, and takes nothing back."""
    if not is_customer_id(change.customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")

    async def work(connection: Connection, claim: Claim) -> Answer:
        chunk = core.chunk_of_customer(change.customer_id)
        days = await connection.execute(_TODAY, [chunk, command.today, change.customer_id])
        asked = await ask_on_sale(core, connection, change.product or "", command.today, chunk)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        today, customer_id = await days.fetchone() or (command.today, None)
        if customer_id is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        node = _find_node(core, change, await asked.fetch(today), today)
        first_day = change.temporary_from or today
        values = {
            "customer_id": change.customer_id,
            "node": node.name,
            "amount_fen": change.amount_fen,
            "valid_from": first_day,
            "valid_to": change.temporary_to,
            "reason": change.reason,
            "staff": change.staff,
            "key": command.key,
        }
        await connection.execute(store.SET_TEMPORARY if change.temporary else store.SET_LIMIT, values)
        body = {
            "customer_id": change.customer_id,
            "node": node.name,
            "temporary": change.temporary,
            "amount_fen": change.amount_fen,
            "valid_from": first_day.isoformat(),
            "valid_to": change.temporary_to.isoformat() if change.temporary_to else None,
        }
        told = Told("limit.set", change.customer_id, body | {"staff": change.staff, "reason": change.reason})
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, core.cell_of_customer(change.customer_id), command, work)


def _find_node(core: LendingCore, change: LimitChange, product: Product | None, today: dt.date) -> Node:
    """Return the node that is meant; Refused when there is none or law or document forbid the amount."""
    if change.level is Level.CUSTOMER:
        node = Node(CUSTOMER, core.catalogue.legal_line_fen(today))
    elif product is None:
        raise refuse_field("body.product", "no product on offer", "the product whose path has the node")
    else:
        path = {node.level: node for node in path_of(core, product, today)}
        if change.level not in path:
            needed = f"one of: {', '.join(path)}"
            raise refuse_field("body.level", f"{change.level}, which {product.id} does not have", needed)
        node = path[change.level]
    amount_fen = change.amount_fen
    if change.temporary:
        _check_temporary(change, product)
    elif amount_fen is not None and node.document_fen is not None and amount_fen > node.document_fen:
        raise refuse_field("body.amount_fen", str(amount_fen), f"at most {node.document_fen}")
    return node


def _check_temporary(change: LimitChange, product: Product | None) -> None:
    if change.level is not Level.PRODUCT or product is None:
        raise refuse_field("body.level", f"a temporary increase at {change.level}", "product")
    first, last, amount_fen = change.temporary_from, change.temporary_to, change.amount_fen
    if first is None or last is None or last < first or amount_fen is None:
        found = "an increase without its amount or days in order"
        raise refuse_field(
            "body.temporary_to", found, "amount_fen, temporary_from and a temporary_to from it on"
        )
    limits = product.limits
    if amount_fen > limits.temporary_fen:
        raise refuse_field("body.amount_fen", str(amount_fen), f"at most {limits.temporary_fen}")
    days = (last - first).days + 1
    if days > limits.temporary_days:
        raise refuse_field("body.temporary_to", f"{days} days", f"at most {limits.temporary_days} days")


async def show_limits(core: LendingCore, customer_id: str) -> Done:
    """Return a customer's tree: each node's limits, what is reserved and used, and the room left."""
    if not is_customer_id(customer_id):
        raise Refused(Kind.NOT_FOUND, "There is no such customer.")
    cell = core.cell_of_customer(customer_id)

    async def work(connection: Connection, epoch: int) -> Answer:
        calendar = core.read_today()
        chunk = core.chunk_of_customer(customer_id)
        days = await connection.execute(_TODAY, [chunk, calendar, customer_id])
        asked = await store.ask_nodes(connection, customer_id, (chunk, calendar))
        today, known = await days.fetchone() or (calendar, None)
        if known is None:
            raise Refused(Kind.NOT_FOUND, "There is no such customer.")
        rows = await store.fetch_nodes(asked)
        products = await read_all_on_sale(core, connection, today)
        documents = _documented(products, core.catalogue.legal_line_fen(today))
        names = sorted({*documents, *rows}, key=lambda name: (list(Level).index(_level(name)), name))
        nodes = [_show_node(Node(name, documents.get(name)), rows.get(name)) for name in names]
        body = {"customer_id": customer_id, "on": today.isoformat(), "nodes": nodes}
        return Answer(200, body, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


def _level(name: str) -> Level:
    return Node(name, None).level


def _documented(products: Sequence[Product], legal_line_fen: int) -> dict[str, int | None]:
    """Return every node of the products on sale, with the limit of law or document."""
    return {
        node.name: node.document_fen
        for product in products
        for node in find_path(product, legal_line_fen, find_group_fen(product, products))
    }


def _show_node(node: Node, row: NodeRow | None) -> dict[str, Any]:
    limit_fen = limit_at(node, row)
    held_fen = row.held_fen if row else 0
    return {
        "node": node.name,
        "level": str(node.level),
        "document_fen": node.document_fen,
        "set_fen": row.limit_fen if row else None,
        "temporary_fen": row.temporary_fen if row else 0,
        "limit_fen": limit_fen,
        "reserved_fen": row.reserved_fen if row else 0,
        "used_fen": row.used_fen if row else 0,
        "room_fen": None if limit_fen is None else max(0, limit_fen - held_fen),
    }


async def void_contract(core: LendingCore, command: Command, contract_id: str) -> Done:
    """Give up a contract that was signed and not drawn; what it reserved is free again."""
    cell = core.cell_of_id(Letter.CONTRACT, contract_id)
    if cell is None:
        raise refuse_field("body.contract_id", "no contract id", "the id of a contract")

    async def work(connection: Connection, claim: Claim) -> Answer:
        rows = await connection.execute(store.LOCK_CONTRACT, [contract_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await rows.fetchone()
        if row is None:
            raise refuse_field("body.contract_id", "no such contract", "a signed contract")
        customer_id, status = row
        if status != "signed":
            raise refuse_conflict("body.contract_id", f"a contract that is {status}", "one signed, not drawn")
        released = await (await connection.execute(store.VOID, {"contract_id": contract_id})).fetchone()
        released_fen = released[0] if released else 0
        body = {"contract_id": contract_id, "customer_id": customer_id, "released_fen": released_fen}
        return await finish_command(connection, claim, 201, body, Told("contract.voided", contract_id, body))

    return await run_command(core, cell, command, work)
