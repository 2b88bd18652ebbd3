"""What a real etcd does to a request: done, refused, unknown; and who is asked next when a member is gone."""

import asyncio
import signal
from dataclasses import replace

import pytest

from replication.etcd import Etcd, EtcdUnavailable, Outcome
from replication.grant_swap import swap_grant
from replication.grants import GRANTS, read_world
from replication.model import CopyId, Grant, Mode, Site
from tests.integration.etcd.members import Member, until_it_serves
from tests.integration.frozen import freeze
from tests.integration.postgres.places import free_port


async def test_a_swap_on_the_present_revision_is_done_and_on_an_old_one_refused(member: Member):
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        assert await etcd.swap("/test/key", "one", 0) is Outcome.DONE
        assert await etcd.swap("/test/key", "two", 0) is Outcome.REFUSED
        revision = (await etcd.read_prefix("/test/key")).values["/test/key"].mod_revision
        assert await etcd.swap("/test/key", "two", revision) is Outcome.DONE


async def test_a_swap_whose_answer_does_not_come_is_unknown_and_settled_by_another_swap(member: Member):
    """Frozen with the request in its socket, the member may carry it out when it wakes, or not."""
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        freeze(member.process.pid)
        assert await etcd.swap("/test/late", "first", 0) is Outcome.UNKNOWN
        with pytest.raises(EtcdUnavailable):
            await etcd.read_prefix("/test/")
        member.process.send_signal(signal.SIGCONT)
        await until_it_serves(etcd)
        settled = Outcome.UNKNOWN
        while settled is Outcome.UNKNOWN:
            settled = await etcd.swap("/test/late", "second", 0)
        kept = (await etcd.read_prefix("/test/late")).values["/test/late"].value
        assert kept in ({"second"} if settled is Outcome.DONE else {"first", "second"})


async def test_a_first_grant_is_written_once_in_a_cells_life(member: Member):
    """A late copy of the request must not stand in for a grant that somebody deleted."""
    first = Grant("a", 1, CopyId("a", Site.IDC, 0, "1"), frozenset(), Mode.ALONE)
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        assert await swap_grant(etcd, first, 0) is Outcome.DONE
        world = await read_world(etcd)
        assert world.born == {"a"}
        assert await swap_grant(etcd, first, world.grants["a"].revision) is Outcome.DONE
        await etcd.delete(GRANTS + "a")
        assert await swap_grant(etcd, first, 0) is Outcome.REFUSED
        assert (await read_world(etcd)).grants == {}
        assert await swap_grant(etcd, replace(first, cell="b"), 0) is Outcome.DONE


async def test_a_member_that_refuses_connections_is_passed_over(member: Member):
    async with Etcd([f"http://127.0.0.1:{free_port()}", member.url]) as etcd:
        await until_it_serves(etcd)
        assert await etcd.swap("/test/key", "one", 0) is Outcome.DONE


async def test_without_any_member_nothing_is_known_and_no_swap_was_sent():
    async with Etcd([f"http://127.0.0.1:{free_port()}"]) as etcd:
        assert await etcd.swap("/test/key", "one", 0) is Outcome.REFUSED
        with pytest.raises(EtcdUnavailable):
            await etcd.read_prefix("/test/")
        with pytest.raises(EtcdUnavailable):
            await etcd.silent_members()


async def test_a_watch_that_falls_silent_says_so(member: Member):
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        freeze(member.process.pid)

        async def watch() -> None:
            async for _ in etcd.watch_prefix("/test/", 1):
                continue

        with pytest.raises(EtcdUnavailable):
            await asyncio.wait_for(watch(), 30)


async def test_an_etcd_with_all_its_members_has_none_silent(member: Member):
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        assert await etcd.silent_members() == frozenset()
