"""A read of what changed is the read of everything, whatever happened in between; on a real etcd."""

from dataclasses import replace
from random import Random

import pytest

from replication.etcd import Etcd, EtcdUnavailable, Snapshot
from replication.grants import PREFIX, WorldReader
from tests.integration.etcd.members import Member, until_it_serves


class CountingEtcd(Etcd):
    """Notes for each read whether it was asked for changes only; reads may be told to fail."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self.asked: list[bool] = []
        self.fails = False

    async def read_prefix(self, prefix: str, last: Snapshot | None = None) -> Snapshot:
        self.asked.append(last is not None)
        if self.fails:
            raise EtcdUnavailable("told to fail")
        return await super().read_prefix(prefix, last)


async def test_changes_and_everything_are_the_same_under_any_writes(member: Member):
    rnd = Random(7)
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        last = await etcd.read_prefix(PREFIX)
        for _ in range(60):
            for _ in range(rnd.randrange(4)):
                key = f"{PREFIX}{rnd.randrange(6)}"
                if rnd.random() < 0.4:
                    await etcd.delete(key)
                else:
                    await etcd.put(key, str(rnd.random()))
            changes, whole = await etcd.read_prefix(PREFIX, last), await etcd.read_prefix(PREFIX)
            assert changes == whole
            last = changes


async def test_one_key_deleted_and_another_made_is_seen(member: Member):
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        await etcd.put(PREFIX + "one", "1")
        last = await etcd.read_prefix(PREFIX)
        await etcd.delete(PREFIX + "one")
        await etcd.put(PREFIX + "two", "2")
        assert set((await etcd.read_prefix(PREFIX, last)).values) == {PREFIX + "two"}


async def test_only_what_was_written_since_is_sent(member: Member):
    async with CountingEtcd(member.url) as etcd:
        await until_it_serves(etcd)
        await etcd.put(PREFIX + "one", "1")
        last = await etcd.read_prefix(PREFIX)
        made_up = {**last.values, PREFIX + "one": replace(last.values[PREFIX + "one"], value="not asked for")}
        assert (await etcd.read_prefix(PREFIX, replace(last, values=made_up))).values == made_up
        assert etcd.asked == [False, True]


async def test_nothing_known_of_another_cluster_or_of_a_later_revision_is_trusted(member: Member):
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        await etcd.put(PREFIX + "one", "1")
        whole = await etcd.read_prefix(PREFIX)
        lies = {PREFIX + "one": replace(whole.values[PREFIX + "one"], value="of another life")}
        assert await etcd.read_prefix(PREFIX, replace(whole, values=lies, cluster="another")) == whole
        later = replace(whole, values=lies, revision=whole.revision + 1)
        assert await etcd.read_prefix(PREFIX, later) == whole


async def test_a_reader_reads_everything_when_its_last_read_is_old_or_failed(member: Member):
    now_ms = 0
    async with CountingEtcd(member.url) as etcd:
        await until_it_serves(etcd)
        reader = WorldReader(etcd, 1000, lambda: now_ms)
        await reader.read()
        await reader.read()
        now_ms = 1000
        await reader.read()
        assert etcd.asked == [False, True, False]
        etcd.fails = True
        with pytest.raises(EtcdUnavailable):
            await reader.read()
        etcd.fails = False
        await reader.read()
        await reader.read()
        assert etcd.asked[3:] == [True, False, True]
