"""A cell restored to a second holds exactly what was committed before it."""

from replication.backup.plan import Kind
from replication.backup.take import take_backup
from tests.integration.backup.scene import Scene


async def test_a_restore_gives_exactly_the_rows_committed_before_the_instant(scene: Scene) -> None:
    await scene.execute("insert into ledger values (1)")
    await take_backup(scene.source(), Kind.FULL)
    await scene.execute("insert into ledger values (2)")
    at = await scene.now_covered()
    await scene.execute("insert into ledger values (3)", "delete from ledger where n = 1")
    await scene.archived()
    restored = await scene.restore(at)
    assert await scene.rows_of(restored.copy) == [1, 2]
    assert restored.last_commit is not None
    assert restored.last_commit <= at
