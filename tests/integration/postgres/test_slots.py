"""No replication slot holds WAL back: a site that is gone for long cannot fill the other's disk."""

from tests.integration.postgres.places import Pair, admin, value


async def test_a_pair_in_sync_has_no_slot_and_one_made_by_hand_is_capped(pair: Pair) -> None:
    await pair.make_sync()
    for copy in (pair.idc, pair.cloud):
        async with await admin(copy) as conn:
            assert await value(conn, "select count(*) from pg_replication_slots") == 0
            assert await value(conn, "select current_setting('max_slot_wal_keep_size')") == "512MB"


async def test_no_copy_restores_from_an_archive(pair: Pair) -> None:
    """The end of an archive is not the end of the WAL: a promotion from one could fork too early."""
    await pair.make_sync()
    for copy in (pair.idc, pair.cloud):
        async with await admin(copy) as conn:
            assert await value(conn, "select current_setting('restore_command')") == ""
