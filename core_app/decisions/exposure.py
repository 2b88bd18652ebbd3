"""What a customer owes and has been promised: the figures that limits are checked against."""

from dataclasses import dataclass

from core_app.core import Connection

# One statement, one snapshot: a contract that is being drawn counts once, as contract or as loan.
_EXPOSURE = """
select coalesce(sum(fen), 0)::bigint, coalesce(sum(fen) filter (where product = %(product)s), 0)::bigint
from (
    select balance_fen as fen, product from core.loans
    where customer_id = %(customer_id)s and not under_line  -- a line counts as a whole, drawn or not
    union all
    select amount_fen, product from core.contracts where customer_id = %(customer_id)s and status = 'signed'
) as owed
"""


@dataclass(frozen=True, slots=True)
class Exposure:
    """Outstanding principal plus contracted and undrawn amounts, in fen."""

    total_fen: int
    product_fen: int


async def read_exposure(connection: Connection, customer_id: str, product: str) -> Exposure:
    """Return the exposure of a customer now, in all and in one product."""
    rows = await connection.execute(_EXPOSURE, {"customer_id": customer_id, "product": product})
    row = await rows.fetchone()
    return Exposure(*row) if row else Exposure(0, 0)
