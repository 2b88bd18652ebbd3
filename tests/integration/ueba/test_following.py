"""Real rows of the portal's outbox, followed from real copies into a real Valkey: each counts once."""

import asyncio
import datetime as dt
import secrets
import uuid

import pytest
from psycopg.types.json import Jsonb

from compliance.access.bearer import Digest
from compliance.protection.index import compute_hmac_sm3
from core_app.staff.pseudonyms import customer_namer, staff_namer
from replication.postgres import conf, control
from replication.postgres.copy import UEBA
from replication.projection.copy import LocalCopy, connect_copy
from replication.projection.valkey import position_key
from tests.integration.postgres.places import admin, connect_as
from tests.integration.projection.scene import Server, in_time, migrate
from tests.integration.projection.test_failover import promote_cloud
from ueba.follow import EVENTS, CellFollower, Desk, State
from ueba.portal import Pseudonyms
from ueba.provisional import Profile
from ueba.settings import Settings, day_number
from ueba.standing import Keeper, plain_profile
from ueba.stream import Marks, StreamScorer

TELL = "insert into core.outbox (topic, key, payload, idempotency_key, at) values (%s, %s, %s, %s, %s)"


def digest(text: bytes) -> bytes:
    return compute_hmac_sm3(b"k" * 32, text)


def names_by(made: Digest) -> Pseudonyms:
    return Pseudonyms(staff_namer(made), customer_namer(made))


NAMES = names_by(digest)


def now():
    return dt.datetime.now(dt.UTC)


async def tell_look(connection, staff, *, at=None, topic="staff.looked", customer="C1", terminal="desk-1"):
    key = f"S000-{uuid.uuid4().hex}"
    look = {"staff": staff, "clear": False, "kind": "view", "customer_id": customer, "role": "service",
            "branch": "branch-7", "terminal": terminal, "site": "idc", "purpose": "collection"}  # fmt: skip
    await connection.execute(TELL, [topic, key, Jsonb(look), secrets.token_hex(8), at or now()])
    return key


def make_follower(copy, valkey, clock=now):
    desk = Desk(valkey, StreamScorer(valkey, Settings()), NAMES, ("a",), lambda: secrets.token_hex(4), clock)
    return CellFollower("a", (copy.place,), copy.passfile, desk)


async def follow(follower, copy):
    """Step until a look has found nothing to do; a second time so that the position was moved on."""
    async with await connect_copy(copy.place, copy.passfile, user=UEBA) as connection:
        local = LocalCopy(connection, EVENTS)
        for _ in range(2):
            follower.moved_s = 0.0
            while await follower.step(local) or follower.state is not State.FOLLOWING:
                pass


async def counted(valkey, staff, day=None):
    local = day_number((now() + dt.timedelta(hours=8)).date()) if day is None else day
    return int(await valkey.hget(f"ueba:day:{local}:{NAMES.staff(staff)}", "looks") or 0)


async def test_each_look_counts_once_and_no_name_goes_into_the_cache(scene):
    follower = make_follower(scene.pair.idc, scene.valkey)
    async with await connect_as(scene.pair.idc, "biyi_owner") as owner:
        for _ in range(30):
            await tell_look(owner, "li.wei")
        await tell_look(owner, "wang.fang", at=now() - dt.timedelta(days=3))
        await tell_look(owner, "wang.fang", topic="loan.drawn")
        await tell_look(owner, "wang.fang", terminal="no terminal of ours!")
        await tell_look(owner, "li.wei")
    await follow(follower, scene.pair.idc)
    assert await counted(scene.valkey, "li.wei") == 31
    assert await counted(scene.valkey, "wang.fang") == 0
    assert (follower.scored, follower.rejected) == (31, 1)
    written = [key async for key in scene.valkey.scan_iter("ueba:*")]
    assert written
    assert not [key for key in written if "li.wei" in key]


async def test_rows_delivered_again_after_a_death_are_counted_once(scene):
    """Killed between the counts and the position: the position of before stands."""
    follower = make_follower(scene.pair.idc, scene.valkey)
    async with await connect_as(scene.pair.idc, "biyi_owner") as owner:
        await tell_look(owner, "li.wei")
        await follow(follower, scene.pair.idc)
        before = await scene.valkey.get(position_key("ueba-a"))
        for _ in range(20):
            await tell_look(owner, "li.wei")
    await follow(follower, scene.pair.idc)
    await scene.valkey.set(position_key("ueba-a"), before)
    again = make_follower(scene.pair.idc, scene.valkey)
    await follow(again, scene.pair.idc)
    assert (again.scored, again.seen_before) == (0, 20)
    assert await counted(scene.valkey, "li.wei") == 21


async def test_a_wiped_valkey_is_filled_again(scene):
    follower = make_follower(scene.pair.idc, scene.valkey)
    async with await connect_as(scene.pair.idc, "biyi_owner") as owner:
        for _ in range(12):
            await tell_look(owner, "li.wei")
    await follow(follower, scene.pair.idc)
    await scene.valkey.flushall()
    await follow(follower, scene.pair.idc)
    assert await counted(scene.valkey, "li.wei") == 12
    assert follower.read_anew == 2


async def test_published_profiles_reach_the_cache_and_a_wiped_one_again(scene):
    follower = make_follower(scene.pair.idc, scene.valkey)
    keeper = Keeper((scene.pair.idc.place,), scene.passfile, scene.valkey, follower.desk.scorer)
    name = NAMES.staff("li.wei")
    document = plain_profile(
        Profile({"looks": 1.0}, {"looks": 0.3}, 40.0), ("action:view",), Marks(True, ("c1",))
    )
    async with await connect_as(scene.pair.idc, "biyi_owner") as owner:
        await owner.execute("insert into watch.publications (day, scores, card) values (%s, %s, '{}')",
                            [now().date(), secrets.token_hex(32)])  # fmt: skip
        await owner.execute(
            "insert into watch.profiles (staff, document) values (%s, %s)", [name, Jsonb(document)]
        )
        for _ in range(60):
            await tell_look(owner, "li.wei")
    async with await connect_copy(scene.pair.idc.place, scene.passfile, user=UEBA) as connection:
        assert await keeper.take(connection)
        assert not await keeper.take(connection)
        await scene.valkey.flushall()
        assert await keeper.take(connection)
    await follow(follower, scene.pair.idc)
    ((staff, score),) = await follower.desk.scorer.highest(
        day_number((now() + dt.timedelta(hours=8)).date()), 5
    )
    assert staff == name
    assert score >= 95, "a silenced account is critical, whatever it does"


@pytest.fixture
async def valkeys():
    both = (Server(), Server())
    for server in both:
        await server.start()
    yield tuple(server.client() for server in both)
    for server in both:
        server.kill()


async def test_what_a_lost_history_showed_counts_nowhere_after_the_failover(pair, valkeys):
    """idc goes on alone, is followed, and dies; cloud takes over without that end; idc comes back."""
    await pair.make_sync()
    await migrate(pair.idc)
    at_idc, at_cloud = make_follower(pair.idc, valkeys[0]), make_follower(pair.cloud, valkeys[1])
    async with await connect_as(pair.idc, "biyi_owner") as owner:
        for _ in range(10):
            await tell_look(owner, "li.wei")
        await follow(at_idc, pair.idc)
        await in_time(lambda: _has(at_cloud, pair.cloud, 10), "cloud has what idc has")
        await control.kill_hard(pair.cloud)
        async with await admin(pair.idc) as conn:
            await conf.set_sync_names(pair.idc, conn, frozenset())
        for _ in range(5):
            await tell_look(owner, "li.wei")
        await follow(at_idc, pair.idc)
    assert await counted(valkeys[0], "li.wei") == 15
    await control.kill_hard(pair.idc)
    await control.start(pair.cloud)
    await promote_cloud(pair)
    async with await connect_as(pair.cloud, "biyi_owner") as owner:
        for _ in range(3):
            await tell_look(owner, "li.wei")
    await follow(at_cloud, pair.cloud)
    assert await counted(valkeys[1], "li.wei") == 13
    # idc's own follower, once its copy shows the new history: its five phantoms are gone.
    await follow(make_follower(pair.cloud, valkeys[0]), pair.cloud)
    assert await counted(valkeys[0], "li.wei") == 13
    for valkey in valkeys:
        await valkey.aclose()


async def _has(follower, copy, wanted):
    await follow(follower, copy)
    await asyncio.sleep(0)
    return await counted(follower.desk.valkey, "li.wei") == wanted
