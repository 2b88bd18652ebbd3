"""How much one member of staff may take out in 24 hours, over all cells and both sites together."""

from typing import Literal

from compliance.access.desk import Connection, Desk, Session, fetch
from compliance.access.errors import AccessRefused, Why

What = Literal["export_rows", "clear_look"]

# The account's row is the lock: two who spend at once take turns.
_SPEND = """
with spent as (
    select coalesce(sum(amount), 0) as amount from access.uses
    where staff = %(staff)s and what = %(what)s and at > now() - interval '24 hours'
)
insert into access.uses (use_id, staff, what, amount)
select %(id)s, %(staff)s, %(what)s, %(amount)s from spent where spent.amount + %(amount)s <= %(most)s
returning 1
"""


async def spend(desk: Desk, by: Session, what: What, amount: int) -> str:
    """Count `amount` against the limit of `what` before anything is shown; returns the use's id.

    FORBIDDEN when it would go over. What is counted and then not shown (a cell was lost) stays counted.
    """
    limits = desk.limits
    most = {"export_rows": limits.export_rows_a_day, "clear_look": limits.clear_looks_a_day}[what]
    use_id = desk.new_uuid().hex
    values = {"id": use_id, "staff": by.staff, "what": what, "amount": amount, "most": most}

    async def work(connection: Connection) -> None:
        # A statement of its own: the sum must see what the one before it in line committed.
        await connection.execute(
            "select from access.accounts where staff = %(staff)s for no key update", values
        )
        if await fetch(connection, _SPEND, values) is None:
            named = {"export_rows": "exported rows", "clear_look": "looks at clear values"}[what]
            raise AccessRefused(
                Why.FORBIDDEN, f"More than {most} {named} in 24 hours: not without a second person."
            )

    await desk.directory.write(work)
    return use_id
