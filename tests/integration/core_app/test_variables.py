"""Variables: what was computed at a decision is what history gives back later, to the last digit."""

import datetime as dt
import random
from typing import Any

import psycopg
import pytest

from core_app.decisions.risk import read_risk
from core_app.decisions.variables.compile import compile_offline, compile_online
from core_app.decisions.variables.definition import SOURCES, Registry, make_registry
from core_app.decisions.variables.evaluate import compute_values
from tests.integration.core_app.lending import apply, draw, repay

FIRST = dt.date(2026, 1, 1)
DAYS = 120
ASKED = """
create temporary table asked (ask_id bigint, customer_id text, day date)
"""


def random_registry(chance: random.Random, count: int) -> Registry:
    """Definitions of every take, with and without windows and conditions, and computations over them."""
    definitions: list[dict[str, Any]] = []
    for number in range(count):
        source = chance.choice(list(SOURCES))
        numbers, names = list(SOURCES[source].numbers), list(SOURCES[source].names)
        take = chance.choice(
            ["count", "sum", "average", "least", "most", "distinct", "days_since_first", "days_since_last"]
            + (["newest"] * 4 if SOURCES[source].sequence else [])
        )
        aggregate: dict[str, Any] = {"source": source, "take": take}
        if take in {"sum", "average", "least", "most", "newest"}:
            aggregate["column"] = chance.choice(numbers)
        if take == "distinct":
            aggregate["column"] = chance.choice(numbers + names)
        if chance.random() < 0.6:
            aggregate["days"] = chance.choice([1, 7, 30, 90])
        if chance.random() < 0.5:
            aggregate["where"] = [
                chance.choice(
                    [
                        {"column": names[0], "one_of": ["instalment-12", "bank_east"]},
                        {
                            "column": chance.choice(numbers),
                            "least": 0,
                            "most": chance.choice([3, 500, 90_000]),
                        },
                    ]
                )
            ]
        one = {"name": f"taken_{number}", "version": 1, "text": "Random.", "aggregate": aggregate}
        definitions.append(one | ({"otherwise": 0} if chance.random() < 0.4 else {}))
    names = [str(definition["name"]) for definition in definitions]
    for number in range(count):
        take = chance.choice(["add", "subtract", "multiply", "divide", "least_of", "most_of"])
        parts = 2 if take in {"subtract", "divide"} else chance.randrange(2, 4)
        compute = {"take": take, "of": [chance.choice(names) for _ in range(parts)]}
        one = {"name": f"made_{number}", "version": 1, "text": "Random.", "compute": compute}
        definitions.append(one | ({"otherwise": 1} if chance.random() < 0.3 else {}))
        if take not in {"multiply", "divide"}:
            names.append(f"made_{number}")
    return make_registry(definitions)


async def write_scores(owner: Any, chance: random.Random, customers: list[str]) -> None:
    """Partners' scores, some of one day."""
    for number in range(20):
        day = FIRST + dt.timedelta(days=chance.randrange(DAYS))
        await owner.execute(
            "insert into core.partner_scores (customer_id, partner, model_kind, model_version, score,"
            " scored_on, standard, received_on, idempotency_key) values (%s, %s, 'credit', %s, %s, %s, 1, %s,"
            " 'k')",
            [
                chance.choice(customers), chance.choice(["bank_east", "bank_west"]), f"v{number % 3}",
                chance.randrange(1_000), day - dt.timedelta(days=chance.randrange(9)), day,
            ],
        )  # fmt: skip


async def write_history(owner: Any, chance: random.Random, customers: list[str]) -> None:
    """Random applications, contracts, loans, plans and repayments; some on the day asked for, some after."""
    await write_scores(owner, chance, customers)
    for number in range(40):
        day = FIRST + dt.timedelta(days=chance.randrange(DAYS))
        row = {
            "n": f"{chance.getrandbits(64):016x}{number}",
            "customer_id": chance.choice(customers),
            "amount": chance.randrange(1, 100_000),
            "periods": chance.randrange(1, 12),
            "day": day,
            "decision": chance.choice(["approved", "refused"]),
            "product": chance.choice(["instalment-12", "bill-small-ticket"]),
        }
        await owner.execute(
            "insert into core.applications (application_id, customer_id, product, product_version,"
            " amount_fen, periods, decision, reasons, limit_fen, decided_on, idempotency_key)"
            " values ('A' || %(n)s,"
            " %(customer_id)s, %(product)s, 1, %(amount)s, %(periods)s, %(decision)s, '[1]', 0, %(day)s,"
            " 'k')",
            row,
        )
        if row["decision"] == "approved":
            await owner.execute(
                "insert into core.contracts (contract_id, application_id, customer_id, product,"
                " product_version, amount_fen, periods, rate_annual, signed_on, idempotency_key) values"
                " ('K' || %(n)s, 'A' || %(n)s, %(customer_id)s, %(product)s, 1, %(amount)s, %(periods)s, 0,"
                " %(day)s, 'k')",
                row,
            )
            await owner.execute(
                "insert into core.loans (loan_id, contract_id, customer_id, product, product_version,"
                " drawn_on, principal_fen, interest_fen, rate_annual, idempotency_key) values"
                " ('L' || %(n)s, 'K' || %(n)s, %(customer_id)s, %(product)s, 1, %(day)s, %(amount)s, 7, 0,"
                " 'k')",
                row,
            )
            await owner.execute(
                "insert into core.instalments (loan_id, period, begins, due, principal_fen, interest_fen,"
                " principal_before_fen, interest_before_fen)"
                " select 'L' || %(n)s, p, %(day)s::date + 10 * p - 10, %(day)s::date + 10 * p,"
                " %(amount)s / %(periods)s, p, 0, 0"
                " from generate_series(1, %(periods)s) p",
                row,
            )
            if chance.random() < 0.4:
                await plan_anew(owner, chance, row)
            for paid in range(chance.randrange(4)):
                await owner.execute(
                    "insert into core.repayments (repayment_id, loan_id, amount_fen, penalty_fen,"
                    " interest_fen, principal_fen, booked_on, idempotency_key)"
                    " values ('R' || %(n)s || %(paid)s::text,"
                    " 'L' || %(n)s, 111, %(paid)s, 1, 110 - %(paid)s, %(day)s::date + 9 * %(paid)s, 'k')",
                    row | {"paid": paid},
                )
                if chance.random() < 0.4:
                    await take_back(owner, chance, row | {"paid": paid})


async def plan_anew(owner: Any, chance: random.Random, row: dict[str, Any]) -> None:
    """Let a second version of the plan hold for the later periods, from some day on."""
    first = chance.randrange(1, row["periods"] + 1)
    values = row | {"first": first, "made": row["day"] + dt.timedelta(days=10 * first)}
    await owner.execute(
        "insert into core.instalments (loan_id, plan_version, period, begins, due, principal_fen,"
        " interest_fen, principal_before_fen, interest_before_fen, made_on)"
        " select 'L' || %(n)s, 2, p, %(day)s::date + 10 * p - 10, %(day)s::date + 10 * p, 17, 3, 0, 0,"
        " %(made)s from generate_series(%(first)s::int, %(periods)s::int) p",
        values,
    )
    await owner.execute("update core.loans set plan_version = 2 where loan_id = 'L' || %(n)s", row)


async def take_back(owner: Any, chance: random.Random, row: dict[str, Any]) -> None:
    """Reverse the repayment some days later, or let another one's reversal change its split."""
    values = row | {"later": chance.randrange(60), "more": chance.randrange(-50, 50)}
    if chance.random() < 0.5:
        await owner.execute(
            "insert into core.reversals (repayment_id, reason, reversed_on, idempotency_key) values"
            " ('R' || %(n)s || %(paid)s::text, 'bounced', %(day)s::date + 9 * %(paid)s + %(later)s, 'k')",
            values,
        )
    else:
        await owner.execute(
            "insert into core.corrections (repayment_id, idempotency_key, penalty_fen, interest_fen,"
            " principal_fen, corrected_on) values ('R' || %(n)s || %(paid)s::text, 'k' || %(later)s, 0,"
            " %(more)s, -%(more)s, %(day)s::date + 9 * %(paid)s + %(later)s)",
            values,
        )


SEALED = bytes([1, 0, 1]) + bytes(28)


async def add_customers(owner: Any, count: int) -> list[str]:
    ids = [f"C{number:024x}" for number in range(count)]
    for customer_id in ids:
        index = bytes.fromhex(f"{int(customer_id[1:], 16):064x}")
        await owner.execute(
            "insert into core.customers (customer_id, slot, name, id_number, id_number_index, phone,"
            " phone_index, idempotency_key) values (%s, 0, %s, %s, %s, %s, %s, 'k')",
            [customer_id, SEALED, SEALED, index, SEALED, index],
        )
    return ids


async def ask_online(
    app: Any, registry: Registry, names: list[str], who: tuple[str, dt.date]
) -> dict[str, Any]:
    statement = compile_online(registry, names)
    values = statement.values | {"customer_id": who[0], "chunk": 0, "today": who[1]}
    row = await (await app.execute(statement.text, values)).fetchone()
    assert row is not None
    aggregates = dict(zip(statement.names, row, strict=True)) if statement.names else {}
    return compute_values(registry, names, aggregates)


async def ask_offline(
    owner: Any, registry: Registry, names: list[str], asked: list[tuple[str, dt.date]]
) -> list[dict[str, Any]]:
    await owner.execute(ASKED)
    for number, (customer_id, day) in enumerate(asked):
        await owner.execute("insert into asked values (%s, %s, %s)", [number, customer_id, day])
    statement = compile_offline(registry, names)
    rows = await (await owner.execute(statement.text, statement.values)).fetchall()
    await owner.execute("drop table asked")
    return [dict(zip(statement.names, row[1:], strict=True)) for row in rows]


@pytest.mark.parametrize("seed", range(8))
async def test_history_gives_back_what_was_known_at_each_decision(cells: Any, seed: int) -> None:
    """Decide on growing days over growing histories; recompute all of them at the end, set-based."""
    chance = random.Random(seed)
    registry = random_registry(chance, 12)
    names = list(registry.plain)
    database = cells.databases["a"]
    async with (
        await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_owner")) as owner,
        await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_app")) as app,
    ):
        customers = await add_customers(owner, 4)
        asked, online = [], []
        await write_history(owner, chance, customers)
        await owner.commit()
        for day in sorted(FIRST + dt.timedelta(days=chance.randrange(DAYS)) for _ in range(6)):
            for customer_id in customers:
                asked.append((customer_id, day))
                online.append(await ask_online(app, registry, names, asked[-1]))
        # Whatever happens on the last day asked for or later must not change what was known before it.
        await owner.execute(
            "insert into core.applications (application_id, customer_id, product, product_version,"
            " amount_fen, periods, decision, reasons, limit_fen, decided_on, idempotency_key)"
            " select 'Z' || c.customer_id, c.customer_id, 'other', 1, 1, 1, 'refused', '[1]', 0, %s, 'k'"
            " from core.customers c",
            [asked[-1][1]],
        )
        offline = await ask_offline(owner, registry, names, asked)
    assert offline == online
    assert any(value not in (None, 0, 1) for values in online for value in values.values())


async def test_the_shipped_variables_of_an_applicant_are_what_history_gives(
    client: Any, core: Any, cells: Any
) -> None:
    """The same through the API: the inputs stored with a decision equal the offline statement's."""
    loan = await draw(client)
    await repay(client, loan["loan_id"], 110_016)
    cells.set_business_date("2026-03-20")
    decided = await apply(client, loan["customer_id"])
    _, shown, _ = await client.get(f"/v1/applications/{decided['application_id']}")
    stored = shown["steps"][2]["facts"]["inputs"]
    risk = read_risk()
    database = cells.databases[core.cell_of_customer(loan["customer_id"])]
    dsn = cells.server.dsn(database, "biyi_owner")
    async with await psycopg.AsyncConnection.connect(dsn) as owner:
        asked = [(loan["customer_id"], dt.date(2026, 3, 20))]
        (offline,) = await ask_offline(owner, risk.registry, list(risk.variables), asked)
    for name in risk.variables:
        value = offline[name]
        assert stored[f"var.{name}"] == (value if value is None or isinstance(value, int) else str(value))
    # Two instalments of 920.16 and 933.96 of principal fell due, the first is paid: 933.96 / 1,854.12.
    assert stored["var.arrears_share"] == "0.50372144"


async def test_a_repayment_taken_back_counts_until_the_day_it_was(client: Any, core: Any, cells: Any) -> None:
    loan = await draw(client)
    await repay(client, loan["loan_id"], 110_016)
    cells.set_business_date("2026-02-10")
    _, bounced, _ = await repay(client, loan["loan_id"], 110_016)
    cells.set_business_date("2026-02-20")
    reversal = {"repayment_id": bounced["repayment_id"], "reason": "bounced_debit"}
    assert (await client.post("/v1/reversals", reversal))[0] == 201
    definition = {
        "name": "repaid",
        "version": 1,
        "text": "Principal repaid.",
        "aggregate": {"source": "repayments", "take": "sum", "column": "principal_fen"},
    }
    registry = make_registry([definition])
    database = cells.databases[core.cell_of_customer(loan["customer_id"])]
    days = [dt.date(2026, 2, day) for day in (10, 11, 20, 21)]
    cells.run_sql(database, "update core.business_date set on_date = null")
    dsn = cells.server.dsn(database, "biyi_app")
    async with await psycopg.AsyncConnection.connect(dsn) as app:
        found = [await ask_online(app, registry, ["repaid"], (loan["customer_id"], day)) for day in days]
    assert [one["repaid"] for one in found] == [92_016, 92_016 + 93_396, 92_016 + 93_396, 92_016]


async def test_what_fell_due_by_an_earlier_plan_stays_known_after_a_new_one(
    client: Any, core: Any, cells: Any
) -> None:
    loan = await draw(client)
    for day in ("2026-02-15", "2026-03-15"):
        cells.set_business_date(day)
        assert (await repay(client, loan["loan_id"], 110_016))[0] == 201
    cells.set_business_date("2026-03-20")
    part = {"loan_id": loan["loan_id"], "mode": "keep_term", "amount_fen": 300_000}
    assert (await client.post("/v1/prepayments", part))[0] == 201
    risk = read_risk()
    database = cells.databases[core.cell_of_customer(loan["customer_id"])]
    days = [dt.date(2026, 3, 20), dt.date(2026, 3, 21), dt.date(2026, 4, 16)]
    cells.run_sql(database, "update core.business_date set on_date = null")
    async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_app")) as app:
        found = [
            await ask_online(app, risk.registry, ["due_fen"], (loan["customer_id"], day)) for day in days
        ]
        plan = "select principal_fen from core.instalments where plan_version = 2 and period = 3"
        third = (await (await app.execute(plan)).fetchone())[0]  # type: ignore[index]
    # 920.16 and 933.96 by the first plan, whoever looks when; the third by the second plan.
    assert [one["due_fen"] for one in found] == [185_412, 185_412, 185_412 + third]
