"""The statements of limits. Whoever locks several nodes of a customer takes the node `customer` first."""

import datetime as dt
from typing import Any

from core_app.core import Connection
from core_app.limits.tree import NodeRow

# `today` is the customer's business date.
NODE_COLUMNS = """
{row}.node, {row}.limit_fen, {row}.reserved_fen, {row}.used_fen,
case when {today} between {row}.temporary_from and {row}.temporary_to then {row}.temporary_fen else 0 end
"""
_GIVEN = "%(today)s::date"

SELECT_NODES = f"""
select {NODE_COLUMNS.format(row="n", today="d.day")}
from core.limits n, core.read_day(%(chunk)s::smallint, %(today)s::date) as d (day)
where n.customer_id = %(customer_id)s
"""  # noqa: S608 - put together of constants

# Rows of one insert are taken in order, so the node `customer` is locked first.
RESERVE = f"""
with placed as (
    insert into core.limits as l (customer_id, node, reserved_fen)
    select %(customer_id)s, w.node, %(amount_fen)s
    from unnest(%(nodes)s::text[]) with ordinality as w (node, place) order by w.place
    on conflict (customer_id, node) do update set reserved_fen = l.reserved_fen + excluded.reserved_fen
    returning l.*
), held as (
    insert into core.limit_holds (contract_id, customer_id, nodes, reserved_fen, line, valid_to)
    values (%(contract_id)s, %(customer_id)s, %(nodes)s, %(amount_fen)s, %(line)s, %(valid_to)s)
)
select {NODE_COLUMNS.format(row="p", today=_GIVEN)} from placed p
"""  # noqa: S608

# `below` reads `top`, so nothing below is locked before the node `customer` is.
_MOVE = """
), top as (
    update core.limits l
    set reserved_fen = l.reserved_fen + held.more_reserved, used_fen = l.used_fen + held.more_used
    from held where l.customer_id = held.customer_id and l.node = 'customer'
    returning l.*
), below as (
    update core.limits l
    set reserved_fen = l.reserved_fen + held.more_reserved, used_fen = l.used_fen + held.more_used
    from held, top
    where l.customer_id = top.customer_id and l.node = any(held.nodes) and l.node <> 'customer'
    returning l.*
)
"""

RELEASE = f"""
with held as (
    update core.limit_holds h
    set used_fen = h.used_fen - %(principal_fen)s,
        reserved_fen = h.reserved_fen + case when h.line then %(principal_fen)s else 0 end
    from core.loans l where l.loan_id = %(loan_id)s and h.contract_id = l.contract_id
    returning h.customer_id, h.nodes, -%(principal_fen)s::bigint as more_used,
        case when h.line then %(principal_fen)s else 0 end::bigint as more_reserved
{_MOVE} select from below
"""  # noqa: S608

# A contract that is given up gives back what nobody drew; `old` keeps what that was.
_GIVE_UP = """
    update core.limit_holds h set reserved_fen = 0, line = false
    from (select contract_id, reserved_fen from core.limit_holds where {which} for update) as old
    where h.contract_id = old.contract_id
    returning h.contract_id, h.customer_id, h.nodes, -old.reserved_fen as more_reserved,
        0::bigint as more_used
"""

VOID = f"""
with held as ({_GIVE_UP.format(which="contract_id = %(contract_id)s")}
{_MOVE}, ended as (
    update core.contracts set status = 'void' where contract_id = %(contract_id)s
) select -h.more_reserved from held h
"""  # noqa: S608

LOCK_CONTRACT = """
select k.customer_id, k.status from core.contracts k where k.contract_id = %s for update
"""

# The cell's date, the last of its chunks': a contract of a chunk that is a day ahead waits an evening longer.
# Oldest first and one at a time: two contracts of a customer would otherwise meet at the same nodes.
NEXT_TO_EXPIRE = """
select h.contract_id from core.limit_holds h, core.business_date b
where h.reserved_fen > 0 and h.valid_to < coalesce(b.on_date, %(today)s::date)
order by h.valid_to, h.contract_id limit 1
"""

EXPIRE = f"""
with due as (
    select k.contract_id from core.contracts k where k.contract_id = %(contract_id)s for update
), held as ({_GIVE_UP.format(which="contract_id = (select contract_id from due)")}
{_MOVE}, ended as (
    update core.contracts set status = 'expired'
    where contract_id = %(contract_id)s and status = 'signed'
) select h.contract_id from held h
"""  # noqa: S608

_NOTE = """
insert into core.limit_changes (customer_id, node, temporary, amount_fen, valid_from, valid_to, reason,
    staff, idempotency_key)
values (%(customer_id)s, %(node)s, %(valid_to)s::date is not null, %(amount_fen)s, %(valid_from)s,
    %(valid_to)s, %(reason)s, %(staff)s, %(key)s)
"""

# A draw locks the node `customer` and then reads the others: a change of any node comes before or after it.
_LOCK_TOP = """
with top as materialized (
    select from core.limits where customer_id = %(customer_id)s and node = 'customer' for update
), locked as (
    select count(*) from top
), set_now as (
"""

SET_LIMIT = f"""
{_LOCK_TOP}
    insert into core.limits (customer_id, node, limit_fen)
    select %(customer_id)s, %(node)s, %(amount_fen)s::bigint from locked
    on conflict (customer_id, node) do update set limit_fen = excluded.limit_fen
) {_NOTE}
"""  # noqa: S608

SET_TEMPORARY = f"""
{_LOCK_TOP}
    insert into core.limits (customer_id, node, temporary_fen, temporary_from, temporary_to)
    select %(customer_id)s, %(node)s, %(amount_fen)s::bigint, %(valid_from)s::date, %(valid_to)s::date
    from locked
    on conflict (customer_id, node) do update
        set temporary_fen = excluded.temporary_fen, temporary_from = excluded.temporary_from,
            temporary_to = excluded.temporary_to
) {_NOTE}
"""  # noqa: S608


async def fetch_nodes(cursor: Any) -> dict[str, NodeRow]:
    """Return the nodes of a SELECT_NODES or RESERVE that was sent, by name."""
    return {row[0]: NodeRow(*row) for row in await cursor.fetchall()}


async def ask_nodes(connection: Connection, customer_id: str, when: tuple[int, dt.date]) -> Any:
    """Send the question what stands in a customer's tree; costs no round trip of its own.

    `when` is the customer's chunk and the calendar's day, for a cell whose business date is not set.
    """
    chunk, today = when
    values = {"customer_id": customer_id, "chunk": chunk, "today": today}
    return await connection.execute(SELECT_NODES, values)
