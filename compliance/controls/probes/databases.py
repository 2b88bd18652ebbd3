"""What the databases of a site say, copy by copy, read by a superuser in read-only transactions.

A setting is not believed where the sessions themselves can be looked at: what counts is what is connected.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from compliance.controls.ground import Facts, Ground, SiteGround
from compliance.protection.register import LiveColumn, find_faults, read_register
from replication.postgres.observe import connect_admin
from replication.settings import PlaceSettings

PATIENCE_S = 5.0
"""Patience with a copy. Source: our choice; a socket answers in milliseconds."""
SUPERUSERS = frozenset({"biyi_admin"})
"""Who may be superuser. Source: replication/postgres/bootstrap.sql: the agent's role."""
MEMBERSHIPS = frozenset({"biyi_repl of pg_checkpoint"})
"""Memberships that are meant. Source: replication/postgres/bootstrap.py: pg_rewind asks for a checkpoint."""
DELETES = frozenset({"biyi_app on core.source_answers", "biyi_app on core.page_events"})
"""Deletes that are meant. Source: core_app/sql/migrations/022: answers of sources are forgotten when the
registry's time for them is over, what a decision rested on stands with the decision; 118: events of pages end
with their consent."""
SAMPLE_ROWS = 2000
"""Rows of a table that are searched for clear personal data. Source: our choice, a second a table."""
_CLEAR = (
    r"(^|[^0-9A-Za-z])"
    r"(1[3-9][0-9]{9}|[1-9][0-9]{5}(19|20)[0-9]{2}[01][0-9][0-3][0-9][0-9]{3}[0-9Xx])"
    r"($|[^0-9A-Za-z])"
)
"""A mobile number or a resident's ID number that stands by itself (research: compliance 5.2)."""

_TRANSPORT = """
select
    (select count(*) from pg_stat_activity a left join pg_stat_ssl s using (pid)
     where a.client_addr is not null and not coalesce(s.ssl, false)) as clear_sessions,
    (select count(*) from pg_hba_file_rules where type in ('host', 'hostnossl') and auth_method <> 'reject'
        and coalesce(address, 'all') not in ('127.0.0.1', '::1', 'localhost')) as clear_hba_rules,
    (select count(*) from pg_hba_file_rules
     where auth_method in ('trust', 'password', 'md5', 'ident')) as weak_hba_rules,
    (select auth_method = 'reject' and 'all' = any(user_name) from pg_hba_file_rules
     order by rule_number desc nulls last limit 1) as ends_in_reject,
    (select count(*) from pg_stat_wal_receiver
     where sender_host not like '/%' and conninfo !~ 'sslmode=(verify-ca|verify-full)') as clear_receivers,
    current_setting('ssl') as ssl, current_setting('listen_addresses') as listen_addresses
"""
_PASSWORDS = """
select current_setting('password_encryption') as password_encryption,
    coalesce(array_agg(rolname::text order by rolname) filter (
        where rolcanlogin and coalesce(rolpassword, '') !~ '^SCRAM-SHA-256\\$'), '{}') as roles_without_scram
from pg_authid
"""
_RIGHTS = """
select
    (select coalesce(array_agg(rolname::text), '{}') from pg_roles where rolsuper) as superusers,
    (select coalesce(array_agg(rolname::text), '{}') from pg_roles
     where rolbypassrls and not rolsuper) as bypass,
    (select coalesce(array_agg(distinct grantee::text || ' on ' || table_schema || '.' || table_name), '{}')
     from information_schema.role_table_grants
     where privilege_type in ('DELETE', 'TRUNCATE') and grantee <> 'biyi_owner'
        and table_schema in ('core', 'access', 'audit', 'controls', 'filing')) as can_delete,
    (select coalesce(array_agg(m.rolname::text || ' of ' || r.rolname::text), '{}')
     from pg_auth_members a join pg_roles m on m.oid = a.member join pg_roles r on r.oid = a.roleid
     where m.rolname ~ '^biyi') as memberships,
    (select coalesce(array_agg(t), '{}') from unnest(%(personal)s::text[]) as t
     where not coalesce((select relrowsecurity from pg_class where oid = to_regclass(t)), false))
        as personal_tables_without_policy
"""
_INTEGRITY = """
select current_setting('data_checksums') = 'on' as checksums,
    (select coalesce(sum(checksum_failures), 0)::bigint from pg_stat_database) as checksum_failures,
    current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on' as guarded
"""
_REPLICATION = """
select pg_is_in_recovery() as standby,
    (select coalesce(array_agg(application_name || ' ' || state), '{}') from pg_stat_replication
     where application_name ~ '^[a-z0-9]+-(idc|cloud)-[0-9]') as streams,
    (select coalesce(max(case when application_name ~ '^[a-z0-9]+-(idc|cloud)-[0-9]'
        then pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) end), 0)::bigint from pg_stat_replication
     where not pg_is_in_recovery()) as lag_bytes,
    (select status from pg_stat_wal_receiver) as receiver
"""
_SEALED = """
with sample as (select name, id_number, phone from core.customers limit %(sample)s)
select
    (select count(*) from sample where least(length(name), length(id_number), length(phone)) < 31
        or get_byte(name, 0) <> 1 or get_byte(id_number, 0) <> 1 or get_byte(phone, 0) <> 1) as malformed,
    (select count(*) from core.customers c join keys.closed_versions v on v.relation = 'core.customers'
        and v.key_version = keys.sealed_version(c.name)) as under_closed
"""
_COLUMNS = """
select n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f')
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_temp'
"""


def own_places(site: SiteGround) -> tuple[PlaceSettings, ...]:
    """Return the copies that stand at the site."""
    return site.settings.own_places()


@asynccontextmanager
async def look_into(site: SiteGround, place: PlaceSettings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Yield a connection that can change nothing; psycopg.Error or TimeoutError when the copy is away."""
    connection = await connect_admin(place, site.settings.passfile, timeout_seconds=PATIENCE_S)
    async with connection:
        await connection.execute("set default_transaction_read_only = on")
        yield connection


async def ask(
    site: SiteGround, place: PlaceSettings, query: str, values: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the one row of a query at one copy."""
    async with look_into(site, place) as connection:
        cursor = await connection.execute(query.encode(), values)
        row = await cursor.fetchone()
        names = [column.name for column in cursor.description or ()]
    return dict(zip(names, row or (), strict=True))


async def read_transport(_: Ground, site: SiteGround) -> Facts:
    """Read how sessions reach the copies, and what their rules let in."""
    rows = {place.name: await ask(site, place, _TRANSPORT) for place in own_places(site)}
    sums = {
        name: sum(int(row[name]) for row in rows.values())
        for name in ("clear_sessions", "clear_hba_rules", "weak_hba_rules", "clear_receivers")
    }
    return {
        **sums,
        "ends_in_reject": bool(rows) and all(row["ends_in_reject"] is True for row in rows.values()),
        "copies": {
            name: {"ssl": row["ssl"], "listen_addresses": row["listen_addresses"]}
            for name, row in rows.items()
        },
    }


async def read_passwords(ground: Ground, site: SiteGround) -> Facts:
    """Read the rules of staff passwords, and how the database's own roles are verified."""
    rows = [await ask(site, place, _PASSWORDS) for place in own_places(site)]
    ways = sorted({row["password_encryption"] for row in rows})
    limits = ground.desk.limits
    return {
        "length_least": limits.password_length, "classes_least": limits.password_classes,
        "days_most": limits.password_days, "history_least": limits.password_history,
        "password_encryption": ", ".join(ways),
        "roles_without_scram": sorted({name for row in rows for name in row["roles_without_scram"]}),
    }  # fmt: skip


async def read_rights(_: Ground, site: SiteGround) -> Facts:
    """Read who is superuser, who gets round row policies, who may delete."""
    register = read_register()
    personal = sorted({path.rpartition(".")[0] for path, label in register.items() if label == "sealed"})
    # Second factors of staff are sealed too, in a table that only access control may read at all.
    personal = [table for table in personal if table.startswith("core.")]
    rows = [await ask(site, place, _RIGHTS, {"personal": personal}) for place in own_places(site)]
    return sum_rights(rows) | {"personal_tables": personal}


def sum_rights(rows: Sequence[Mapping[str, Sequence[str]]]) -> Facts:
    """Return which rights of the copies are none that are meant."""
    found: dict[str, set[str]] = {name: {one for row in rows for one in row[name]} for name in rows[0]}
    return {
        "superusers_unlisted": sorted(found["superusers"] - SUPERUSERS),
        "bypass_unlisted": sorted(found["bypass"] - SUPERUSERS),
        "personal_tables_without_policy": sorted(found["personal_tables_without_policy"]),
        "can_delete": sorted(
            name for name in found["can_delete"] - DELETES if name.split()[0] not in SUPERUSERS
        ),
        "memberships": sorted(found["memberships"] - MEMBERSHIPS),
    }


async def read_integrity(_: Ground, site: SiteGround) -> Facts:
    """Read whether data at rest carry checksums and how often one failed."""
    rows = {place.name: await ask(site, place, _INTEGRITY) for place in own_places(site)}
    return {
        "checksums_off": sorted(name for name, row in rows.items() if not row["checksums"]),
        "checksum_failures": sum(int(row["checksum_failures"]) for row in rows.values()),
        "torn_pages_guarded": bool(rows) and all(row["guarded"] for row in rows.values()),
    }


async def read_replication(_: Ground, site: SiteGround) -> Facts:
    """Read whether each cell written here streams to the other site, and each standby here streams."""
    without, idle, lags = [], [], [0]
    for place in own_places(site):
        row = await ask(site, place, _REPLICATION)
        if row["standby"]:
            idle += [] if row["receiver"] == "streaming" else [place.name]
            continue
        lags.append(int(row["lag_bytes"]))
        other = f"-{'cloud' if str(site.settings.site) == 'idc' else 'idc'}-"
        if not any(other in stream and stream.endswith(" streaming") for stream in row["streams"]):
            without.append(place.cell)
    return {"without_other_site": without, "not_streaming": idle, "lag_bytes_most": max(lags)}


async def read_sealed(ground: Ground, site: SiteGround) -> Facts:
    """Search the site's copies and logs for clear personal data; look at sealed values' form."""
    register, malformed, closed = read_register(), 0, 0
    faults: set[str] = set()
    hits: set[str] = set()
    for place in own_places(site):
        async with look_into(site, place) as connection:
            await connection.execute("set statement_timeout = '20s'")
            row = await (await connection.execute(_SEALED, {"sample": SAMPLE_ROWS})).fetchone()
            malformed, closed = malformed + int(row[0] if row else 0), closed + int(row[1] if row else 0)
            live = [LiveColumn(*found) for found in await (await connection.execute(_COLUMNS)).fetchall()]
            faults.update(find_faults(live, register))
            hits.update(await _find_clear(connection, live))
    return {
        "malformed": malformed, "rows_under_closed_versions": closed, "register_faults": sorted(faults),
        "clear_hits": sorted(hits), "log_hits": _search_logs(site), "searched_rows_a_table": SAMPLE_ROWS,
    }  # fmt: skip


async def _find_clear(connection: psycopg.AsyncConnection[Any], live: list[LiveColumn]) -> list[str]:
    """Return the text columns whose newest rows hold a phone or ID number by itself."""
    found = []
    for column in live:
        if column.kind not in ("text", "jsonb", "json", "character varying"):
            continue
        schema, table = column.table.split(".")
        query = psycopg.sql.SQL(
            "select count(*) from (select {column}::text as t from {table} limit {most}) s where t ~ {clear}"
        ).format(
            column=psycopg.sql.Identifier(column.name), table=psycopg.sql.Identifier(schema, table),
            most=SAMPLE_ROWS, clear=psycopg.sql.Literal(_CLEAR),
        )  # fmt: skip
        row = await (await connection.execute(query)).fetchone()
        if row and row[0]:
            found.append(f"{column.path} ({row[0]} rows)")
    return found


def _search_logs(site: SiteGround) -> list[str]:
    import re

    clear, found = re.compile(_CLEAR), []
    for path in sorted(site.logs.glob("*.log")):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 1_000_000))
            if clear.search(stream.read().decode(errors="replace")):
                found.append(path.name)
    return found
