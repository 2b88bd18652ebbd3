"""Recorded attacks against the real API: each request is stopped by its rule, by day and at night."""

from typing import Any

import pytest

from runbooks.attack import Entrance, find_attacks
from runbooks.attacks.replay import read_attacks, replay
from tests.integration.core_app.versions import publish_change

DAY = {"night_from_hour": 0, "night_until_hour": 0}
NIGHT = {"night_from_hour": 0, "night_until_hour": 24}


def entrance(client: Any, core: Any) -> Entrance:
    return Entrance(client.session, client.url, True, core)


@pytest.mark.parametrize("night", [False, True])
@pytest.mark.parametrize("name", [one.id for one in read_attacks()])
async def test_every_request_of_an_attack_ends_as_it_must(
    client: Any, core: Any, cells: Any, name: str, night: bool
) -> None:
    await publish_change(core, risk=NIGHT if night else DAY)
    (attack,) = find_attacks([name])
    done = await replay(attack, entrance(client, core), night=night)
    assert done.holds, [one for one in done.came if not one.holds]
    stopped = [one for one in done.came if one.stopped_by]
    assert len(stopped) == sum(one.wanted(night=night) is not None for one in attack.requests) > 0
    again = await replay(attack, entrance(client, core), night=night)
    assert again.holds, "people and devices are new each time"


async def test_without_the_rule_that_stops_it_an_attack_gets_through_and_the_replay_says_where(
    client: Any, core: Any, cells: Any
) -> None:
    await publish_change(core, risk=DAY | {"window_applications": 100})
    (attack,) = find_attacks(["device-velocity"])
    done = await replay(attack, entrance(client, core), night=False)
    assert not done.holds
    assert [(one.place, one.wanted) for one in done.came if not one.holds] == [
        (place, "window.device") for place in (10, 11, 12)
    ]


async def test_nothing_of_a_replayed_command_is_done_twice(client: Any, core: Any, cells: Any) -> None:
    await publish_change(core, risk=DAY)
    (attack,) = find_attacks(["stolen-token"])
    assert (await replay(attack, entrance(client, core), night=False)).holds
    assert await cells.rows("select amount_fen from core.applications") == [(500_000,)]
