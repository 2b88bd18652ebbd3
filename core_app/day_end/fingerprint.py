"""One hash over all that day-end wrote for a day: two runs over equal portfolios have equal ones."""

import datetime as dt

from cryptography.hazmat.primitives import hashes

from core_app.core import Connection

# Without the clock and without numbers that depend on the order of transactions.
_ROWS = """
select r from (
    select 'snapshot ' || s::text as r from core.loan_snapshots s where s.on_date = %(day)s
    union all select 'closing ' || c::text from core.closings c where c.on_date = %(day)s
    union all select 'statement ' || b::text from core.statements b where b.made_on = %(day)s
    union all select 'line ' || n::text from core.statement_lines n where n.made_on = %(day)s
    union all select 'progress ' || p.step || ' ' || p.chunk || ' ' || p.rows_written
        from core.day_end_progress p where p.on_date = %(day)s
    union all select 'entry ' || e.transaction_id || ' ' || e.account || ' ' || e.amount_fen
        from core.entries e where e.booked_on = %(day)s and e.idempotency_key like %(keys)s
) as rows order by r collate "C"
"""


async def read_fingerprint(connection: Connection, day: dt.date) -> str:
    """Return the SM3 in hex of all rows of a day's day-end in one cell, in order."""
    rows = await connection.execute(_ROWS, {"day": day, "keys": f"day-end-{day:%Y%m%d}-%"})
    digest = hashes.Hash(hashes.SM3())
    async for (row,) in rows:
        digest.update(row.encode() + b"\n")
    return digest.finalize().hex()
