"""A cell restored to an instant holds exactly what was committed before it, whatever happened meanwhile."""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from replication.backup.archive import Progress
from replication.backup.errors import TargetOutsideArchive
from replication.backup.plan import Kind
from replication.backup.take import take_backup
from replication.model import Site
from replication.postgres import conf, control, hba, replica
from replication.postgres.copy import ARCHIVER, REPL
from tests.integration.backup.scene import Scene
from tests.integration.postgres.places import admin, connect_as, follows, until, value


async def test_a_restore_gives_exactly_the_rows_committed_before_the_instant(scene: Scene) -> None:
    await scene.execute("insert into ledger values (1)")
    full = await take_backup(scene.source(), Kind.FULL)
    await scene.execute(
        "insert into ledger values (2)", "insert into ledger select generate_series(100, 9999)"
    )
    incremental = await take_backup(scene.source(), Kind.INCREMENTAL)
    await scene.execute("delete from ledger where n > 98", "insert into ledger values (3)")
    at = await scene.now_covered()
    await scene.execute("insert into ledger values (4)", "delete from ledger where n = 1")
    await scene.archived()
    restored = await scene.restore(at)
    assert await scene.rows_of(restored.copy) == [1, 2, 3]
    assert restored.last_commit is not None
    assert restored.last_commit <= at
    assert restored.chain == (full.backup.label, incremental.backup.label)
    assert incremental.tar_bytes < full.tar_bytes / 2
    await nobody_can_mistake_it_for_a_copy(scene, restored.copy)


async def nobody_can_mistake_it_for_a_copy(scene: Scene, copy: control.Copy) -> None:
    assert control.read_copy_id(copy) is None
    assert copy.place.port not in (scene.pair.idc.place.port, scene.pair.cloud.place.port)
    assert not hba.is_open(copy)
    for role in ("biyi_app", "biyi_owner", REPL):
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
            await connect_as(copy, role)
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        await psycopg.AsyncConnection.connect(
            host="127.0.0.1", port=copy.place.port, user=REPL, password=f"pw-{REPL}", replication="true"
        )
    async with await admin(copy) as conn:
        assert await value(conn, "show archive_mode") == "off"
        assert await value(conn, "show primary_conninfo") == ""
        assert await value(conn, "show synchronous_standby_names") == ""


@pytest.mark.slow
async def test_an_instant_with_no_commit_behind_it_is_restored_to_the_end(scene: Scene) -> None:
    await take_backup(scene.source(), Kind.FULL)
    await scene.execute("insert into ledger values (1)")
    restored = await scene.restore(await scene.now_covered())
    assert await scene.rows_of(restored.copy) == [1]


@pytest.mark.slow
async def test_an_instant_outside_the_archive_is_refused_and_nothing_is_made(scene: Scene) -> None:
    stored = await take_backup(scene.source(), Kind.FULL)
    at = await scene.now_covered()
    for wrong in (stored.backup.began, at + timedelta(hours=1)):
        with pytest.raises(TargetOutsideArchive, match=f"from {stored.backup.ended.isoformat()[:19]}"):
            await scene.restore(wrong)
    assert not any((scene.pair.home / "restored").iterdir())


@pytest.mark.slow
async def test_a_restore_goes_across_a_failover_and_leaves_out_what_was_abandoned(scene: Scene) -> None:
    """Both archives go on; the primary commits on its own after its copy stopped listening, then dies."""
    scene.start_archiving(Site.IDC)
    await take_backup(scene.source(), Kind.FULL)
    await take_backup(scene.source(Site.IDC), Kind.FULL)
    await scene.execute("insert into ledger values (1)")
    before = await scene.now_covered()
    await scene.execute("insert into ledger values (2)")
    cloud_id = control.read_copy_id(scene.pair.cloud)
    assert cloud_id is not None
    async with await admin(scene.pair.cloud) as conn:
        await replica.stop_receiver(scene.pair.cloud, conn, cloud_id)
    lonely = await admin(scene.pair.idc)
    waiting = asyncio.create_task(lonely.execute("insert into ledger values (666)"))

    async def waits_in_vain() -> bool:
        async with await admin(scene.pair.idc) as conn:
            return bool(
                await value(conn, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
            )

    await until(waits_in_vain, "the row is on disk at idc only")
    await scene.archived(Site.IDC, Site.IDC)
    await scene.fail_over_to_cloud()
    with pytest.raises(psycopg.OperationalError):
        await waiting
    await lonely.close()
    await scene.execute("insert into ledger values (3)", site=Site.CLOUD)
    after = await scene.now_covered(Site.CLOUD)
    assert await scene.rows_of((await scene.restore(before)).copy) == [1]
    assert await scene.rows_of((await scene.restore(after)).copy) == [1, 2, 3]
    await rejoin_idc(scene)
    await scene.execute("insert into ledger values (4)", site=Site.CLOUD)
    home = await scene.now_covered(Site.CLOUD, Site.IDC)
    assert await scene.rows_of((await scene.restore(home, Site.IDC)).copy) == [1, 2, 3, 4]


async def rejoin_idc(scene: Scene) -> None:
    """The old primary loses what only it had and follows; its archive goes on along the new timeline."""
    new_id = replica.new_copy_id(scene.pair.idc.place)
    await replica.rewind(scene.pair.idc, scene.pair.cloud.place, new_id)
    await control.start(scene.pair.idc)
    async with await admin(scene.pair.cloud) as conn:
        await until(lambda: follows(conn, new_id), "the rewound copy streams")


@pytest.mark.slow
async def test_an_archive_whose_process_was_killed_goes_on_without_a_gap(scene: Scene) -> None:
    await take_backup(scene.source(), Kind.FULL)
    for n in range(3):
        await scene.execute(f"insert into ledger values ({n})")
        await scene.archived()
        scene.tasks[Site.CLOUD].cancel()
        await asyncio.gather(scene.tasks.pop(Site.CLOUD), return_exceptions=True)
        await scene.execute("select pg_switch_wal()", f"insert into ledger values ({n + 10})")
        scene.start_archiving()
        await scene.archived()
    restored = await scene.restore(await scene.now_covered())
    assert await scene.rows_of(restored.copy) == [0, 1, 2, 10, 11, 12]


@pytest.mark.slow
async def test_a_copy_that_was_down_while_its_timeline_went_on_leaves_no_gap(scene: Scene) -> None:
    """Its server stops early on timeline 1, which goes on for segments and forks; then it follows again."""
    await take_backup(scene.source(), Kind.FULL)
    await control.stop(scene.pair.cloud, mode="fast", timeout_seconds=20)
    async with await admin(scene.pair.idc) as conn:
        await conf.set_sync_names(scene.pair.idc, conn, frozenset())
    for n in range(3):
        await scene.execute(f"insert into ledger values ({n})", "select pg_switch_wal()")
    await fork_idc(scene)
    await scene.execute("insert into ledger values (3)")
    await control.start(scene.pair.cloud)
    restored = await scene.restore(await scene.now_covered())
    assert await scene.rows_of(restored.copy) == [0, 1, 2, 3]
    assert restored.timeline == 2


async def fork_idc(scene: Scene) -> None:
    """The primary becomes the primary of the next timeline."""
    own_id = control.read_copy_id(scene.pair.idc)
    assert own_id is not None
    await control.stop(scene.pair.idc, mode="fast", timeout_seconds=20)
    await replica.become_standby(scene.pair.idc, None, own_id)
    await control.start(scene.pair.idc)
    async with await admin(scene.pair.idc) as conn:
        await replica.promote(scene.pair.idc, conn, timeout_seconds=10)


async def test_progress_never_goes_back_while_a_begun_segment_is_streamed_anew(scene: Scene) -> None:
    """A restore lays out WAL up to there: less than what is covered would leave out rows."""
    await scene.execute("insert into ledger select generate_series(1, 50000)")
    await scene.archived()
    archive, seen = scene.archive(), []
    ends = "select count(pg_terminate_backend(pid)) from pg_stat_replication where application_name = %s"
    for _ in range(2):
        before = archive.read_progress()
        assert before is not None
        async with await admin(scene.pair.cloud) as conn:
            assert await value(conn, ends, ARCHIVER) == 1

        async def said_again(before: Progress = before) -> bool:
            now = archive.read_progress()
            assert now is not None
            seen.append((now.timeline, now.archived_lsn))
            return now.at > before.at

        await until(said_again, "the archive says again how far it is")
        await until(lambda: _streams(scene), "the archiver streams again")
        await until(said_again, "the archive says again how far it is")
    assert seen == sorted(seen)


async def _streams(scene: Scene) -> bool:
    query = "select count(*) from pg_stat_replication where application_name = %s"
    async with await admin(scene.pair.cloud) as conn:
        return await value(conn, query, ARCHIVER) == 1
