"""What a repayment takes on loans with 12, 120 and 1,200 ledger transactions behind them, in turn."""

import statistics
import time
import uuid

import psycopg

from bench.core.ground import DAY, Ground
from bench.core.ours import make_core, open_pool
from core_app.commands import make_command
from core_app.loans.repay import repay_loan

ENTRIES = (12, 120, 1_200)
_LOANS = 10
_ROUNDS = 40
_HISTORY = (
    """
    insert into core.repayments (repayment_id, loan_id, amount_fen, penalty_fen, interest_fen, principal_fen,
        booked_on, idempotency_key)
    select 'R000-' || n || %(loan)s, %(loan)s, 1, 0, 1, 0, %(day)s, 'history'
    from generate_series(1, %(entries)s) as n
    """,
    """
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on)
    select 'R000-' || n || %(loan)s, a.account, a.fen, 'CNY', %(loan)s, 'history', %(day)s
    from generate_series(1, %(entries)s) as n, (values ('1002', 1), ('6011', -1)) as a (account, fen)
    """,
    """
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'loan.repaid', %(loan)s, '{}', 'history' from generate_series(1, %(entries)s)
    """,
)


async def measure_histories(ground: Ground) -> dict[str, float]:
    """Return the median milliseconds of a repayment by length of history, longest over shortest as ratio."""
    loans: dict[int, list[str]] = {entries: [] for entries in ENTRIES}
    number = 0
    with psycopg.connect(ground.dsn("biyi_owner")) as connection:
        for entries, ids in loans.items():
            for _ in range(_LOANS):
                number += 1
                ids.append(f"L{number % 1024:03x}-{number:032x}")
                for statement in _HISTORY:
                    connection.execute(statement, {"loan": ids[-1], "entries": entries, "day": DAY})
    times: dict[int, list[float]] = {entries: [] for entries in ENTRIES}
    async with open_pool(ground.dsn(), 1) as pool:
        core = make_core(pool)
        for turn in range(_ROUNDS):
            for entries, ids in loans.items():
                for loan_id in ids:
                    body = {"loan_id": loan_id, "amount_fen": 2}
                    command = make_command(core, f"turn-{uuid.uuid4().hex}", "repayment", body)
                    begun = time.perf_counter()
                    await repay_loan(core, command, loan_id, 2)
                    if turn:  # the first turn plans the statements
                        times[entries].append(1000 * (time.perf_counter() - begun))
    medians = {entries: statistics.median(found) for entries, found in times.items()}
    shown = {f"{entries}_entries_ms": round(ms, 3) for entries, ms in medians.items()}
    return shown | {"ratio": round(medians[ENTRIES[-1]] / medians[ENTRIES[0]], 3)}
