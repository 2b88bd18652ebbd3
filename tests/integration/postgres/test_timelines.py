"""A candidate gets the timeline that its grant reserved, and its copies follow across the numbers between."""

import psycopg

from replication.postgres import control, replica, timelines
from tests.integration.postgres.places import Pair, admin, follows, until, value

RESERVED = 4


async def promote_onto_reserved(pair: Pair) -> int:
    own_id = control.read_copy_id(pair.cloud)
    assert own_id is not None
    async with await admin(pair.cloud) as conn:
        await replica.stop_receiver(pair.cloud, conn, own_id)
        timelines.reserve(pair.cloud, await replica.read_timeline(conn), RESERVED)
        return await replica.promote(pair.cloud, conn, timeout_seconds=10)


async def test_a_candidate_takes_the_reserved_number_and_the_old_primary_follows_it(pair: Pair) -> None:
    await pair.make_sync()
    old_id = control.read_copy_id(pair.idc)
    assert old_id is not None
    await control.stop(pair.idc, mode="fast", timeout_seconds=20)
    assert await promote_onto_reserved(pair) == RESERVED
    async with await admin(pair.cloud) as conn:
        await conn.execute("create table ledger (n int)")
        assert await replica.can_follow_directly(pair.idc, pair.cloud.place)
        await replica.become_standby(pair.idc, pair.cloud.place, old_id)
        for _ in ("across the numbers between", "and after a restart"):
            await control.start(pair.idc)
            await until(lambda: follows(conn, old_id), "the old primary streams")
            await conn.execute("insert into ledger values (1)")
            async with await admin(pair.idc) as standby:
                sent = await value(conn, "select count(*) from ledger")

                async def caught_up() -> bool:
                    try:
                        return await value(standby, "select count(*) from ledger") == sent  # noqa: B023
                    except psycopg.errors.UndefinedTable:
                        return False  # not even the table has arrived

                await until(caught_up, "the row arrives")
            await control.stop(pair.idc, mode="fast", timeout_seconds=20)


async def test_a_candidate_that_dies_before_it_promotes_starts_again_as_a_standby(pair: Pair) -> None:
    standby_id = await pair.make_sync()
    timelines.reserve(pair.cloud, 1, RESERVED)
    await control.kill_hard(pair.cloud)
    await control.start(pair.cloud)
    async with await admin(pair.idc) as conn:
        await until(lambda: follows(conn, standby_id), "it streams")
    assert await promote_onto_reserved(pair) == RESERVED


async def test_equal_numbers_with_different_histories_would_look_like_one_history(pair: Pair) -> None:
    """Why numbers are reserved: nothing but the number tells a failed candidate's timeline from another's."""
    await pair.make_sync()
    async with await admin(pair.cloud) as conn:
        own_id = control.read_copy_id(pair.cloud)
        assert own_id is not None
        await replica.stop_receiver(pair.cloud, conn, own_id)
        await replica.promote(pair.cloud, conn, timeout_seconds=10)
        await conn.execute("set synchronous_commit = local")
        await conn.execute("create table only_on_the_failed_candidate (n int)")
    await control.stop(pair.cloud, mode="fast", timeout_seconds=20)
    failed = await control.read_control(pair.cloud)
    other = replica.UpstreamHistory(
        failed.system_identifier, False, 2 * failed.checkpoint_lsn, True, failed.checkpoint_lsn + 1
    )
    assert failed.timeline == 2
    assert replica.is_contained(failed, other), "an upstream that was promoted onto 2 as well, elsewhere"
    reserved = replica.UpstreamHistory(failed.system_identifier, False, other.reached_lsn, False, None)
    assert not replica.is_contained(failed, reserved), "an upstream that was promoted onto 3"
