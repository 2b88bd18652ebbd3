"""Beats are one a site, however many cells: idle cells write nothing to etcd. Real agents, real etcd."""

from bench.idle_cells import fresh_home, measure


async def test_idle_cells_write_nothing_beside_the_beats_of_their_sites() -> None:
    with fresh_home() as home:
        row = await measure(64, seconds=2.0, home=home)
    assert row["loops_at_rest"] == 2 * 64
    assert row["grants_changed"] == 0
    assert row["writes_beside_beats"] == 0
    assert row["etcd_writes_per_second"] > 0
