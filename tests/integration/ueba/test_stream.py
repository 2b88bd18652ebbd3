"""The streaming path on real Valkeys, one a site: nothing lost or doubled, whatever is delivered again."""

import asyncio
import datetime as dt
import shutil

import pytest
from redis.exceptions import RedisError

from tests.integration.projection.scene import Server
from ueba.events import Event
from ueba.provisional import Profile
from ueba.settings import Settings
from ueba.stream import StreamScorer, write_profiles

AT = dt.datetime(2026, 3, 2, 2, 0, tzinfo=dt.UTC)
DAY = int((AT.timestamp() + 8 * 3600) // 86_400)


def make(number, staff="e1", **more):
    values = {"event_id": f"v{number}", "at": AT, "staff": staff, "action": "view", "customer": f"c{number}"}
    return Event(**(values | more))


@pytest.fixture
async def servers():
    made = [Server(), Server()]
    try:
        for one in made:
            await one.start()
        yield made
    finally:
        for one in made:
            one.kill()
            shutil.rmtree(one.folder, ignore_errors=True)


async def looks(valkey, staff="e1"):
    return int(await valkey.hget(f"ueba:day:{DAY}:{staff}", "looks") or 0)


async def test_the_same_events_again_change_nothing(servers):
    valkey = servers[0].client()
    scorer = StreamScorer(valkey, Settings())
    events = [make(n) for n in range(200)]
    first = await scorer.apply(events)
    state = await valkey.hgetall(f"ueba:day:{DAY}:e1")
    again = await scorer.apply(events[::-1])
    assert all(one.provisional is not None for one in first)
    assert all(one.provisional is None for one in again)
    assert await valkey.hgetall(f"ueba:day:{DAY}:e1") == state
    assert await looks(valkey) == 200
    await valkey.aclose()


@pytest.mark.parametrize(
    "more",
    [
        {"action": "search", "customer": None},
        {"action": "login", "customer": None},
        {"assigned": True},
        {"case_id": "case-1"},
    ],
    ids=["search", "login", "assigned", "with a case"],
)
async def test_what_names_no_customer_or_has_a_reason_is_counted_too(servers, more):
    valkey = servers[0].client()
    first, second = await StreamScorer(valkey, Settings()).apply([make(1, **more), make(2)])
    assert first.provisional is not None
    assert second.provisional is not None
    state = await valkey.hgetall(f"ueba:day:{DAY}:e1")
    assert (state["events"], state["bare"]) == ("2", "1")
    await valkey.aclose()


async def test_many_followers_at_once_count_each_event_once(servers):
    valkey = servers[0].client()
    events = [make(n, staff=f"e{n % 7}") for n in range(400)]
    scorers = [StreamScorer(valkey, Settings()) for _ in range(4)]
    batches = [events[start : start + 50] for start in range(0, 400, 50)]
    found = await asyncio.gather(*(one.apply(batch) for batch in batches for one in scorers))
    assert sum(one.provisional is not None for outcomes in found for one in outcomes) == 400
    assert sum([await looks(valkey, f"e{n}") for n in range(7)]) == 400
    await valkey.aclose()


async def test_a_site_loss_neither_loses_nor_doubles(servers):
    """Both sites apply one history; one is killed in the middle and later has the history delivered anew."""
    clients = [one.client() for one in servers]
    scorers = [StreamScorer(one, Settings()) for one in clients]
    history = [make(n, staff=f"e{n % 5}") for n in range(300)]
    for start in range(0, 150, 30):
        for scorer in scorers:
            await scorer.apply(history[start : start + 30])
    servers[0].kill()
    with pytest.raises((RedisError, OSError)):
        await scorers[0].apply(history[150:180])
    for start in range(150, 300, 30):
        await scorers[1].apply(history[start : start + 30])
    assert [await looks(clients[1], f"e{n}") for n in range(5)] == [60] * 5
    await servers[0].start()
    for start in range(0, 300, 30):
        await scorers[0].apply(history[start : start + 30])
    for n in range(5):
        key = f"ueba:day:{DAY}:e{n}"
        assert await clients[0].hgetall(key) == await clients[1].hgetall(key)
    assert await scorers[0].highest(DAY, 9) == await scorers[1].highest(DAY, 9)
    for one in clients:
        await one.aclose()


async def test_a_burst_raises_the_score_and_a_rule_sets_a_floor(servers):
    valkey = servers[0].client()
    usual = Profile({"looks": 3.5, "bare": 0.5}, {"looks": 0.4, "bare": 0.6}, 40.0)
    await write_profiles(valkey, {"e1": usual, "e2": usual}, {"e1": ["hour:10", "hour:2", "action:view"]})
    await valkey.sadd("ueba:listed", "c999")
    scorer = StreamScorer(valkey, Settings())
    first, *_, last = await scorer.apply([make(n) for n in range(80)])
    assert first.provisional.score < 40 < last.provisional.score
    listed = (await scorer.apply([make(999, staff="e9")]))[0].provisional
    assert listed.score >= 80
    assert list(listed.rules) == ["listed"]
    assert dict(await scorer.highest(DAY, 2)).keys() == {"e1", "e9"}
    await valkey.aclose()
