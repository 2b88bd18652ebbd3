"""How long the customers of a chunk of many rows wait while it moves: the figures of docs/scale.md.

BIYI_SLOT_LOANS is how many loans the chunk has (1,000: some 77,000 rows); `-o log_cli=true` shows what was
measured.
"""

import logging
import os

import pytest

from tests.integration.moving.test_moving import under_load, where_is
from tests.integration.moving.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOANS = int(os.environ.get("BIYI_SLOT_LOANS", "1000"))
FILL = (
    """
    insert into core.customers (customer_id, slot, name, id_number, id_number_index, phone, phone_index,
        idempotency_key)
    select 'C' || lpad(to_hex(n), 24, '0'), %(slot)s, sealed, sealed, decode(lpad(to_hex(n), 64, '0'), 'hex'),
           sealed, decode(lpad(to_hex(n), 64, '0'), 'hex'), 'fill-' || n
    from generate_series(1, %(loans)s) as n, decode('010001' || repeat('00', 28), 'hex') as sealed
    """,
    """
    insert into core.applications (application_id, customer_id, product, product_version, amount_fen,
        periods, decision, reasons, limit_fen, decided_on, idempotency_key)
    select 'A' || %(hex)s || lpad(to_hex(n), 32, '0'), 'C' || lpad(to_hex(n), 24, '0'), 'instalment-12',
           1, 1200000, 12, 'approved', '[]', 0, '2026-01-15', 'fill-' || n
    from generate_series(1, %(loans)s) as n
    """,
    """
    insert into core.contracts (contract_id, application_id, customer_id, product, product_version,
        amount_fen, periods, rate_annual, status, signed_on, idempotency_key)
    select 'K' || right(application_id, -1), application_id, customer_id, product, 1, amount_fen, 12, 0.18,
           'drawn', decided_on, idempotency_key
    from core.applications where application_id like 'A' || %(hex)s || '%%'
    """,
    """
    insert into core.loans (loan_id, contract_id, customer_id, product, product_version, rate_annual,
        drawn_on, principal_fen, interest_fen, idempotency_key)
    select 'L' || right(contract_id, -1), contract_id, customer_id, product, 1, 0.18, signed_on, amount_fen,
           120000, idempotency_key from core.contracts where contract_id like 'K' || %(hex)s || '%%'
    """,
    """
    insert into core.instalments (loan_id, period, begins, due, principal_fen, interest_fen,
        principal_before_fen, interest_before_fen)
    select l.loan_id, p, l.drawn_on + 30 * (p - 1), l.drawn_on + 30 * p, 100000, 10000, 100000 * (p - 1),
           10000 * (p - 1)
    from core.loans l, generate_series(1, 12) as p where l.loan_id like 'L' || %(hex)s || '%%'
    """,
    """
    insert into core.loan_funders (loan_id, place, funder, share, principal_fen, interest_fen, settle_in_days,
        idempotency_key)
    select loan_id, 0, 'own', 1, principal_fen, interest_fen, 0, idempotency_key
    from core.loans where loan_id like 'L' || %(hex)s || '%%'
    """,
    """
    insert into core.commands (idempotency_key, request_sm3, kind, epoch, status, response, committed_by)
    select 'fill-' || l.loan_id || '-' || p, decode(repeat('00', 32), 'hex'), 'repayment', 1, 201, '{}',
           'idc'
    from core.loans l, generate_series(1, 10) as p where l.loan_id like 'L' || %(hex)s || '%%'
    """,
    """
    insert into core.repayments (repayment_id, loan_id, amount_fen, penalty_fen, interest_fen, principal_fen,
        booked_on, idempotency_key)
    select 'R' || %(hex)s || lpad(to_hex(p), 4, '0') || right(l.loan_id, 28), l.loan_id, 2, 0, 1, 1,
           l.drawn_on, 'fill-' || l.loan_id || '-' || p
    from core.loans l, generate_series(1, 10) as p where l.loan_id like 'L' || %(hex)s || '%%'
    """,
    """
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on)
    select r.repayment_id, e.account, e.fen, 'CNY', r.loan_id, r.idempotency_key, r.booked_on
    from core.repayments r, (values ('1002', 2), ('1303', -1), ('6011', -1)) as e (account, fen)
    where r.loan_id like 'L' || %(hex)s || '%%'
    """,
    """
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'loan.repaid', r.loan_id, '{}', r.idempotency_key
    from core.repayments r where r.loan_id like 'L' || %(hex)s || '%%'
    """,
)


async def test_a_chunk_of_many_rows_moves_and_its_customers_wait_for_a_moment(world: World) -> None:
    chunk, other = world.take_chunk(), world.take_chunk()
    slot = chunk * 4
    async with world.client() as client:
        served, beside = await world.lend(client, chunk), await world.lend(client, other)
        for statement in FILL:
            await world.run("a", statement, {"slot": slot, "hex": f"{slot:03x}-", "loans": LOANS})
        async with under_load(client, [served, beside]) as load, world.mover() as mover:
            done = await mover.move(chunk, "b")
    assert load.wrong == []
    assert done is not None
    rows = sum(done.rows.values())
    assert rows > 60 * LOANS
    assert await where_is(world, chunk) == {"a": "gone", "b": "owned"}
    logging.getLogger("biyi.moving").warning(
        "%d loans, %d rows, %.2f s in all, %.0f rows a second, %d rounds; its customers waited %.3f s",
        *(LOANS, rows, done.seconds, rows / done.seconds, done.rounds, done.pause_seconds),
    )
