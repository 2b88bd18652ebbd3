"""Each role of the database, logged in directly: what it must not do, it cannot."""

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from compliance.access.roles import Role
from compliance.protection.register import read_register
from core_app.ids import Letter
from core_app.staff.portal import make_portal
from replication.postgres.copy import ADMIN, OWNER, REPL, ROLES
from tests.integration.core_app.lending import draw, make_person
from tests.integration.core_app.people import seat

PERSONAL = "select name from core.customers"
FORBIDDEN = {
    "biyi_app": [
        "select password_hash from access.accounts",
        "insert into access.sessions (token_digest, staff, scope) values ('\\x00', 'li.wei', 'full')",
        "select * from core.staff_looks",
        "insert into core.staff_looks (look_id) values ('S000')",
        "select core.find_customers('phone', '{}', 9)",
        "select core.record_looks('[]')",
        "update core.entries set amount_fen = 0",
        "delete from core.outbox",
        "update core.customers set name = '\\x00'",
        "update core.notices set state = 'delivered'",
        "update core.page_events set name = 'x'",
        "update core.campaigns set coupon = 'fifty_off'",
        "delete from core.campaign_targets",
        "update core.contacts set refused_by = '{}'",
        "delete from core.contact_outcomes",
        "update core.collection_tasks set customer_id = 'C'",
        "update core.complaints set received_at = now()",
        "update core.complaints set words = ''",
        "update core.complaint_acts set words = ''",
        "update core.alert_tasks set value = 0",
        "alter table core.customers disable row level security",
        "select * from audit.entries",
        "insert into audit.entries (line) values ('x')",
        "delete from audit.blocks",
        "set role biyi_staff",
        "set role biyi_owner",
    ],
    "biyi_staff": [
        "select phone_index from core.customers",
        "select * from core.loans",
        "select * from core.applications",
        "select * from core.entries",
        "select * from core.outbox",
        "select * from core.contacts",
        "select * from core.complaints",
        "update core.collection_tasks set state = 'done'",
        "insert into core.staff_looks (look_id) values ('S000')",
        "insert into core.staff_look_runs (look_id, customer_id) values ('S000', 'C')",
        "update core.staff_looks set purpose = 'other'",
        "update core.limits set limit_fen = 1",
        "insert into core.repayments (repayment_id) values ('R')",
        "delete from access.accounts",
        "delete from access.changes",
        "update access.changes set done_by = 'someone'",
        "update access.approvals set asked_by = 'someone'",
        "update access.sessions set staff = 'someone'",
        "update watch.acts set done_by = 'someone'",
        "delete from watch.cases",
        "insert into watch.acts (at) values (now())",
        "select * from audit.entries",
        "insert into audit.entries (line) values ('x')",
        "set role biyi_app",
    ],
    "biyi_payer": [
        PERSONAL,
        "select * from core.applications",
        "select * from core.contracts",
        "select * from core.evidence",
        "select * from core.bureau_inquiries",
        "select * from core.debit_agreements",
        "select payload from core.outbox",
        "select * from core.staff_looks",
        "select * from access.accounts",
        "select * from audit.entries",
        "insert into core.loans (loan_id) values ('L')",
        "insert into core.payout_orders (order_id) values ('P')",
        "update core.payout_orders set amount_fen = 1",
        "update core.payout_orders set payee = 'me'",
        "update core.loans set principal_fen = 0",
        "update core.funder_quotas set total_fen = null",
        "update core.business_date set on_date = now()",
        "update core.custody set standing = 'agrees'",
        "insert into core.custody (order_id, reported_on) values ('P', now())",
        "delete from core.debit_orders",
        "alter table core.loans disable row level security",
        "set role biyi_app",
    ],
    "biyi_notices": [
        "update core.opinion_checks set posts = 0",
        PERSONAL,
        "select id_number from core.customers",
        "select phone_index from core.customers",
        "update core.customers set phone = '\\x00'",
        "select * from core.contracts",
        "select reference from core.consents",
        "select * from core.campaign_targets",
        "select * from core.page_events",
        "select * from core.entries",
        "select * from core.payout_orders",
        "select * from core.outbox",
        "select * from core.staff_looks",
        "select * from access.accounts",
        "select * from audit.entries",
        "insert into core.notices (notice_id) values ('N')",
        "update core.notices set customer_id = 'C'",
        "update core.notices set medium = 'sms'",
        "delete from core.notices",
        "update core.contacts set refused_by = '{}'",
        "select words from core.complaints",
        "select customer_id from core.complaints",
        "update core.complaints set decide_by = '2099-01-01'",
        "select words from core.complaint_acts",
        "update core.loans set principal_fen = 0",
        "update core.business_date set on_date = now()",
        "alter table core.customers disable row level security",
        "set role biyi_app",
    ],
    "biyi_read": [PERSONAL, "select * from core.loans", "select * from access.accounts", "set role biyi_app"],
    "biyi_ueba": [
        PERSONAL,
        "select * from core.loans",
        "select * from core.outbox",
        "select * from core.staff_looks",
        "select * from access.accounts",
        "select * from watch.cases",
        "insert into watch.profiles (staff, document) values ('e1', '{}')",
        "insert into core.outbox (topic, key, payload, idempotency_key) values ('x', 'x', '{}', 'x')",
        "set role biyi_staff",
    ],
    "biyi_audit": [
        PERSONAL,
        "select * from core.loans",
        "select * from access.accounts",
        "set role biyi_app",
    ],
    "biyi_report": [
        "select * from audit.entries",
        PERSONAL,
        "select * from core.evidence",
        "select * from access.accounts",
        "update core.loans set principal_paid_fen = 0",
        "insert into core.entries (transaction_id) values ('x')",
        "create table core.own (a int)",
        "set role biyi_app",
    ],
}
PAYER_CHANGES = {
    "commands": "response status",
    "debit_orders": "amount_fen booked_at changed_at changed_by channel due_at epoch note part_fen refused_by"
    " state valid_until",
    "funder_quotas": "day_used_fen eve_used_fen used_fen used_on",
    "late_lines": "counted_to fen_days penalty_paid_fen",
    "limit_holds": "line reserved_fen used_fen",
    "limits": "reserved_fen used_fen",
    "loans": "fee_fen fee_paid_fen interest_fen interest_fen_days interest_paid_fen interest_to open_period"
    " penalty_paid_fen plan_version principal_paid_fen settled_on",
    "payout_orders": "changed_at changed_by channel due_at epoch note refused_by state valid_until",
}
"""By table: every column that the payer may update. Of a payout neither its amount nor who is paid."""
UPDATABLE = """
select c.relname::text, string_agg(a.attname::text, ' ' order by a.attname::text collate "C")
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    and a.attnum > 0 and not a.attisdropped
    and has_column_privilege('biyi_payer', c.oid, a.attnum, 'update')
group by c.relname order by c.relname
"""
PEOPLE = sorted(FORBIDDEN)
NOT_OF_PROCESSES = {ADMIN, OWNER, REPL}
"""The agent's, the migrations' and the copies' own: above what is forbidden here."""


async def register(client: Any) -> str:
    return str((await client.post("/v1/customers", make_person()))[1]["customer_id"])


async def connect(cells: Any, user: str, cell: str = "a") -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(cells.server.dsn(cells.databases[cell], user))


def test_every_role_that_a_process_logs_in_as_is_tried() -> None:
    assert set(FORBIDDEN) == {*ROLES} - NOT_OF_PROCESSES


@pytest.mark.parametrize("user", PEOPLE)
async def test_what_a_role_must_not_do_it_cannot(cells: Any, user: str) -> None:
    async with await connect(cells, user) as connection:
        for statement in FORBIDDEN[user]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())
            await connection.rollback()


async def test_the_payer_changes_what_its_work_changes_and_no_other_column(cells: Any) -> None:
    assert dict(await cells.rows(UPDATABLE, "biyi_admin")) == PAYER_CHANGES


async def test_reading_roles_read_what_they_are_for(cells: Any) -> None:
    for user, statement in (
        ("biyi_ueba", "select * from core.staff_events"),
        ("biyi_ueba", "select * from watch.profiles"),
        ("biyi_report", "select sum(amount_fen) from core.entries"),
    ):
        async with await connect(cells, user) as connection:
            await connection.execute(statement.encode())


async def test_nobody_but_the_superuser_is_above_row_security(cells: Any) -> None:
    strong = await cells.rows(
        "select distinct rolname::text from pg_roles where rolsuper or rolbypassrls or rolcreaterole",
        "biyi_admin",
    )
    assert {name for (name,) in strong} == {"biyi_admin"}
    members = await cells.rows("select count(*) from pg_auth_members m join pg_roles r on r.oid = m.member "
        "where r.rolname like 'biyi%' and r.rolname <> 'biyi_admin'", "biyi_admin")  # fmt: skip
    assert {count for (count,) in members} == {0}


PERSONS = {"sealed", "index", "pseudonym", "staff"}
"""Labels of the register whose columns name a person."""


async def test_every_table_that_names_a_person_is_under_row_security(cells: Any) -> None:
    """By the register, not by the names of columns: a new such table is found before it has a row."""
    wanted = {path.rpartition(".")[0] for path, label in read_register().items() if label in PERSONS}
    tables = await cells.rows(
        "select n.nspname || '.' || c.relname, c.relrowsecurity from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r'"
    )
    assert len(wanted) > 25
    found = {name for name, guarded in tables if guarded}
    assert wanted <= found, f"end the migration with `select core.guard_rows();`: {sorted(wanted - found)}"


async def test_a_right_granted_by_mistake_shows_no_row(client: Any, core: Any, cells: Any) -> None:
    """Each table that names a person, granted to a role that has no business there."""
    await draw(client)
    portal = make_portal(core, core.router.staff)
    await seat(portal, "an.bo", Role.SYSTEM_ADMIN)
    wanted = {path.rpartition(".")[0] for path, label in read_register().items() if label in PERSONS}
    seen, filled = {}, 0
    async with await connect(
        cells, "biyi_admin", core.cell_of_id(Letter.LOAN, await loan_of(cells))
    ) as admin:
        for schema in sorted({table.partition(".")[0] for table in wanted}):
            await admin.execute(f"grant usage on schema {schema} to biyi_ueba".encode())
        for table in sorted(wanted):
            await admin.execute(f"grant select on {table} to biyi_ueba".encode())
            whole = await (await admin.execute(f"select count(*) from {table}".encode())).fetchone()
            filled += whole[0] > 0
            await admin.execute("set local role biyi_ueba")
            part = await (await admin.execute(f"select count(*) from {table}".encode())).fetchone()
            await admin.execute("reset role")
            seen[table] = part[0]
        await admin.rollback()
    assert set(seen.values()) == {0}, {table: count for table, count in seen.items() if count}
    assert filled > 5


async def loan_of(cells: Any) -> str:
    return str((await cells.rows("select loan_id from core.loans"))[0][0])


async def test_the_payer_sees_the_loans_that_it_has_work_with(client: Any, core: Any, cells: Any) -> None:
    await draw(client)
    loan_id = await loan_of(cells)
    database = cells.databases[core.cell_of_id(Letter.LOAN, loan_id)]
    seen = "select loan_id from core.loans"
    people = "select customer_id from core.limits"

    async def look() -> tuple[int, int]:
        async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_payer")) as payer:
            loans = await (await payer.execute(seen.encode())).fetchall()
            return len(loans), len(await (await payer.execute(people.encode())).fetchall())

    loans, limits = await look()
    assert (loans, limits > 0) == (1, True), "its payout is ordered"
    paid = "update core.payout_orders set state = 'paid', channel = 'bank_a'"
    cells.run_sql(database, paid)
    assert await look() == (0, 0), "paid: the payer has no more to do with it"
    async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_payer")) as payer:
        touched = await payer.execute("update core.loans set principal_paid_fen = principal_fen")
        assert touched.rowcount == 0


async def test_the_sender_of_notices_sees_who_gets_a_text_message_and_no_other(
    client: Any, core: Any, cells: Any
) -> None:
    await draw(client)
    [(loan_id, customer_id)] = await cells.rows("select loan_id, customer_id from core.loans")
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    database = cells.databases[cell]

    async def look() -> tuple[int, int]:
        async with await connect(cells, "biyi_notices", cell) as sender:
            loans = await (await sender.execute("select loan_id from core.loans")).fetchall()
            phones = await (await sender.execute("select phone from core.customers")).fetchall()
            return len(loans), len(phones)

    def order(medium: str) -> None:
        notice_id = f"N{loan_id[1:5]}{medium.encode().hex():0>32}"
        cells.run_sql(
            database,
            "insert into core.notices (notice_id, loan_id, customer_id, kind, medium, about, on_date,"
            " quiet_from, quiet_until, due_at, give_up_at, changed_by, idempotency_key) values"
            f" ('{notice_id}', '{loan_id}', '{customer_id}', 'due', '{medium}', '2026-02-15', '2026-02-14',"
            " 24, 0, now(), now(), 'idc', 'k')",
        )

    assert await look() == (0, 0)
    order("app")
    assert await look() == (1, 0), "what is told in the app needs no phone"
    order("sms")
    assert await look() == (1, 1)
    cells.run_sql(database, "update core.notices set state = 'delivered'")
    assert await look() == (0, 0)


async def test_who_calls_by_machine_sees_the_phone_while_a_call_is_ordered_and_no_call_of_people(
    client: Any, core: Any, cells: Any
) -> None:
    await draw(client)
    [(loan_id, customer_id)] = await cells.rows("select loan_id, customer_id from core.loans")
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    database = cells.databases[cell]

    async def look() -> tuple[int, int, int]:
        async with await connect(cells, "biyi_notices", cell) as sender:
            tasks = await (await sender.execute("select task_id from core.collection_tasks")).fetchall()
            loans = await (await sender.execute("select loan_id from core.loans")).fetchall()
            phones = await (await sender.execute("select phone from core.customers")).fetchall()
            return len(tasks), len(loans), len(phones)

    def order(channel: str) -> None:
        task_id = f"T{loan_id[1:5]}{channel.encode().hex():0>32}"
        cells.run_sql(
            database,
            "insert into core.collection_tasks (task_id, loan_id, customer_id, channel, script,"
            " strategy_version, days_past_due, on_date, quiet_from, quiet_until, due_at, give_up_at,"
            f" changed_by, idempotency_key) values ('{task_id}', '{loan_id}', '{customer_id}', '{channel}',"
            " 'x', 1, 1, '2026-02-16', 22, 8, now(), now(), 'idc', 'k')",
        )

    assert await look() == (0, 0, 0)
    order("person")
    assert await look() == (0, 0, 0), "a call that a person makes is none of its business"
    order("letter")
    assert await look() == (1, 1, 0), "a letter needs no phone"
    order("sms")
    assert await look() == (2, 1, 1)
    cells.run_sql(database, "update core.collection_tasks set state = 'done'")
    assert await look() == (2, 0, 0)


async def test_the_portals_role_sees_a_customer_only_where_it_recorded_a_look(
    client: Any, core: Any, cells: Any
) -> None:
    mine, other = await register(client), await register(client)
    cell = core.cell_of_customer(mine)
    look = {
        "look_id": "S000-" + "1" * 32, "staff": "li.wei", "subject": "customer", "subject_id": mine,
        "fields": ["name"], "clear": False, "kind": "view", "purpose": "collection", "site": "idc",
    }  # fmt: skip
    seen = "select customer_id from core.customers"
    async with await connect(cells, "biyi_staff", cell) as connection:
        assert await (await connection.execute(seen)).fetchall() == []
        await connection.execute("select core.record_looks(%s)", [Jsonb([look])])
        assert await (await connection.execute(seen)).fetchall() == [(mine,)]
        await connection.commit()
        assert await (await connection.execute(seen)).fetchall() == []
        # An old record is no ticket for another customer.
        await connection.execute("select core.record_looks(%s)", [Jsonb([look | {"subject_id": other}])])
        assert await (await connection.execute(seen)).fetchall() == []


async def test_the_core_still_sees_all(client: Any, cells: Any) -> None:
    await register(client)
    assert len(await cells.rows("select customer_id from core.customers", "biyi_app")) == 1
