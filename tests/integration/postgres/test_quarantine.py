"""Rows that only a lost primary has are written down before it is rewound."""

import asyncio
import json

import psycopg
import pytest

from replication.model import WAL_SEGMENT_BYTES, WalName
from replication.postgres import conf, control, quarantine, replica
from replication.postgres.copy import PostgresError, read_copy_id
from replication.postgres.quarantine import Stretch
from replication.postgres.server import PostgresServer
from tests.integration.postgres.places import Pair, admin, until, value
from tests.integration.postgres.test_replica import fail_over


async def lose_a_commit(pair: Pair, *statements: str) -> None:
    """Commit at the old primary what its copy never gets, lose it, promote the copy."""
    standby_id = await pair.make_sync()
    async with await admin(pair.idc) as conn:
        await conn.execute("create table ledger (n int, note text)")
        await conn.execute("insert into ledger values (1, 'on both sides')")
    async with await admin(pair.cloud) as standby:
        await replica.stop_receiver(pair.cloud, standby, standby_id)
    lonely = await admin(pair.idc)
    waiting = asyncio.create_task(run(lonely, *statements))

    async def waits() -> bool:
        async with await admin(pair.idc) as conn:
            query = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
            return bool(await value(conn, query))

    await until(waits, "the commit is on disk here and nowhere else")
    await control.kill_hard(pair.idc)
    with pytest.raises(psycopg.OperationalError):
        await waiting
    await lonely.close()
    await fail_over(pair)


async def run(conn: psycopg.AsyncConnection, *statements: str) -> None:
    for statement in statements:
        await conn.execute(statement.encode())


async def test_a_commit_only_the_old_primary_has_is_written_down_with_its_rows(pair: Pair) -> None:
    await lose_a_commit(
        pair,
        "begin",
        "insert into ledger values (666, 'here only')",
        "savepoint inner_one",
        "insert into ledger values (667, 'in a subtransaction')",
        "commit",
    )
    report = pair.home / "quarantine" / "a-idc-0.jsonl"
    found = await quarantine.export_lost_rows(pair.idc, pair.cloud.place, report)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["row"]["n"] for line in lines] == [666, 667]
    assert {line["table"] for line in lines} == {"public.ledger"}
    assert (found.rows, found.report) == (2, report)
    assert report.stat().st_mode & 0o777 == 0o600
    assert not await control.is_running(pair.idc)


async def test_the_directory_can_be_rewound_after_its_report(pair: Pair) -> None:
    await lose_a_commit(pair, "insert into ledger values (666, 'here only')")
    await quarantine.export_lost_rows(pair.idc, pair.cloud.place, pair.home / "report.jsonl")
    new_id = replica.new_copy_id(pair.idc.place)
    await replica.rewind(pair.idc, pair.cloud.place, new_id)
    await control.start(pair.idc)

    async def same() -> bool:
        async with await admin(pair.idc) as conn:
            return await value(conn, "select array_agg(n) from ledger") == [1]

    await until(same, "the old primary has the new history only")


async def test_the_agents_rewind_never_goes_before_the_report(pair: Pair) -> None:
    await lose_a_commit(pair, "insert into ledger values (666, 'here only')")
    lost = read_copy_id(pair.idc)
    server = PostgresServer(pair.idc, pair.home / "quarantine", 100)
    await server.rewind(pair.cloud.place, server.new_copy_id())
    report = pair.home / "quarantine" / f"{lost}.jsonl"
    assert [json.loads(line)["row"]["n"] for line in report.read_text().splitlines()] == [666]


async def test_an_aborted_transaction_is_not_reported(pair: Pair) -> None:
    await lose_a_commit(
        pair,
        "begin",
        "insert into ledger values (5, 'never')",
        "rollback",
        "insert into ledger values (6, 'yes')",
    )
    report = pair.home / "report.jsonl"
    await quarantine.export_lost_rows(pair.idc, pair.cloud.place, report)
    assert [json.loads(line)["row"]["n"] for line in report.read_text().splitlines()] == [6]


async def test_a_report_reaches_over_many_segments(pair: Pair) -> None:
    bulk = "insert into ledger select n, repeat('x', 900) from generate_series(1, 5000) n"
    await lose_a_commit(pair, "begin", bulk, "insert into ledger values (666, 'the last')", "commit")
    found = await quarantine.export_lost_rows(pair.idc, pair.cloud.place, pair.home / "report.jsonl")
    assert (found.transactions, found.rows) == (1, 5001)


async def test_a_segment_prepared_and_still_empty_is_not_asked_for_its_size(pair: Pair) -> None:
    await lose_a_commit(pair, "insert into ledger values (666, 'here only')")
    prepared = bytes(WAL_SEGMENT_BYTES)
    for number in range(200, 240):  # the server prepares one; which file comes first is the file system's
        (pair.idc.data_dir / "pg_wal" / str(WalName(1, number))).write_bytes(prepared)
    found = await quarantine.export_lost_rows(pair.idc, pair.cloud.place, pair.home / "report.jsonl")
    assert found.rows == 1


async def test_without_the_new_primary_nothing_is_told_and_nothing_started(pair: Pair) -> None:
    await lose_a_commit(pair, "insert into ledger values (666, 'here only')")
    await control.kill_hard(pair.cloud)
    with pytest.raises(PostgresError, match="history of a-cloud-0"):
        await quarantine.export_lost_rows(pair.idc, pair.cloud.place, pair.home / "report.jsonl")
    assert not await control.is_running(pair.idc)


async def test_a_directory_that_cannot_be_read_is_named_so_that_it_is_kept(pair: Pair) -> None:
    await lose_a_commit(pair, "insert into ledger values (666, 'here only')")
    data_dir = pair.idc.place.data_dir
    assert data_dir is not None
    (data_dir / "pg_xact" / "0000").write_bytes(b"")
    (data_dir / "global" / "pg_filenode.map").write_bytes(b"torn")
    with pytest.raises(quarantine.LostRowsUnread):
        await quarantine.export_lost_rows(pair.idc, pair.cloud.place, pair.home / "report.jsonl")
    assert not (pair.home / "report.jsonl").exists()
    aside = await quarantine.set_aside(pair.idc)
    assert (aside / "PG_VERSION").exists()
    assert not control.has_data(pair.idc)


async def test_a_failed_candidate_with_a_newer_timeline_is_read_and_follows_the_older_one(pair: Pair) -> None:
    """It promoted and committed, then the old primary took the cell back on the timeline it always had."""
    standby_id = await pair.make_sync()
    async with await admin(pair.idc) as conn:
        await conn.execute("create table ledger (n int, note text)")
    async with await admin(pair.cloud) as candidate:
        await replica.stop_receiver(pair.cloud, candidate, standby_id)
        await replica.promote(pair.cloud, candidate, timeout_seconds=20)
        await candidate.execute("insert into ledger values (666, 'on the failed candidate only')")
    await control.kill_hard(pair.cloud)
    async with await admin(pair.idc) as conn:
        await conf.set_sync_names(pair.idc, conn, frozenset())
        await conn.execute("insert into ledger values (1, 'the history that counts')")
    server = PostgresServer(pair.cloud, pair.home / "quarantine", 100)
    assert not await server.can_follow_directly(pair.idc.place)
    new_id = server.new_copy_id()
    await server.rewind(pair.idc.place, new_id)
    report = pair.home / "quarantine" / f"{standby_id}.jsonl"
    assert [json.loads(line)["row"]["n"] for line in report.read_text().splitlines()] == [666]
    await server.start()

    async def same() -> bool:
        async with await admin(pair.cloud) as conn:
            return await value(conn, "select array_agg(n) from ledger") == [1]

    await until(same, "the failed candidate has the other history only")


@pytest.mark.parametrize(
    ("own", "theirs", "only_here"),
    [
        ({1: None}, {1: 70, 2: None}, [Stretch(1, 70, None)]),
        ({1: 50, 2: None}, {1: None}, [Stretch(2, 50, None)]),
        ({1: 50, 2: 90, 3: None}, {1: 50, 2: 60, 4: None}, [Stretch(2, 60, 90), Stretch(3, 90, None)]),
        ({1: 50, 2: None}, {1: 40, 3: None}, [Stretch(1, 40, 50), Stretch(2, 50, None)]),
        ({1: 40, 2: None}, {1: 50, 3: None}, [Stretch(2, 40, None)]),
        ({1: None}, {1: None}, []),
        ({5: None}, {1: None}, []),
    ],
)
def test_the_wal_after_a_fork_is_found_whoever_has_the_higher_timeline(own, theirs, only_here):
    assert quarantine.find_stretches(own, theirs) == only_here


def test_commits_are_read_with_their_subtransactions():
    dump = (
        "rmgr: Transaction len (rec/tot):     82/    82, tx:        747, lsn: 0/03000A10, prev 0/030009D8, "
        "desc: COMMIT 2026-11-22 05:30:00.123456 UTC; subxacts: 748 749; inval msgs: catcache 1\n"
        "rmgr: Transaction len (rec/tot):     34/    34, tx:        750, lsn: 0/03000A70, prev 0/03000A10, "
        "desc: ABORT 2026-11-22 05:30:01.000000 UTC\n"
    )
    assert sorted(quarantine.parse_commits(dump)) == [747, 748, 749]
