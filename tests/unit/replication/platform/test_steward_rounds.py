"""What a steward says of its own rounds when one of them goes wrong."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from replication.platform import steward as module
from replication.platform.cluster import ClusterUnavailable, Kind
from replication.platform.steward import Steward
from replication.platform.writes import Write
from tests.unit.replication.platform.test_objects import PLATFORM, SETTINGS


class World:
    """What etcd said: no cell has a grant, nobody beats."""

    grants: dict[str, Any] = {}  # noqa: RUF012
    beats: dict[str, Any] = {}  # noqa: RUF012
    exposures: dict[str, Any] = {}  # noqa: RUF012


class Sight:
    """The look at etcd, as the test says it went."""

    world: World | None = World()
    read_ok = True
    silent_for_ms: dict[Any, float] = dict.fromkeys(module.DATA_SITES, 0.0)


class FakeCluster:
    """An empty API server, or one that fails as told."""

    failure: Exception | None = None

    async def read(self, kind: Kind, name: str) -> dict[str, Any] | None:
        return None

    async def list(self, kind: Kind) -> tuple[list[dict[str, Any]], str]:
        if self.failure is not None:
            raise self.failure
        return [], "1"

    async def write(self, kind: Kind, name: str, write: Write) -> None:
        pass

    async def watch(self, kind: Kind, version: str) -> AsyncIterator[None]:
        yield


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    return FakeCluster()


def make_steward(cluster: FakeCluster) -> Any:
    nothing: Any = None
    steward: Any = Steward(SETTINGS, PLATFORM, nothing, nothing, cluster)
    steward._sight = Sight()
    return steward


async def tell(steward: Any) -> bool | None:
    async with asyncio.TaskGroup() as tasks:
        await steward._tell_guarded(tasks)
    up: bool | None = steward.figures.cluster_up
    return up


def told(steward: Any) -> list[float]:
    (up, *_) = steward.figures.metrics()
    assert up.name == "biyi_steward_cluster_up"
    return [sample.value for sample in up.samples]


@pytest.mark.parametrize("failure", [ClusterUnavailable("no answer"), KeyError("what nobody foresaw")])
async def test_a_round_that_fails_for_whatever_reason_is_not_told_as_good(
    cluster: FakeCluster, failure: Exception
) -> None:
    steward = make_steward(cluster)
    assert told(steward) == []
    assert await tell(steward) is True
    cluster.failure = failure
    assert await tell(steward) is False
    assert told(steward) == [0.0]
    cluster.failure = None
    assert await tell(steward) is True
    assert told(steward) == [1.0]


@pytest.mark.parametrize("sight", [{"world": None}, {"read_ok": False}])
async def test_without_etcd_nothing_is_said_of_the_api_server(
    cluster: FakeCluster, sight: dict[str, Any]
) -> None:
    steward = make_steward(cluster)
    assert await tell(steward) is True
    for name, value in sight.items():
        setattr(steward._sight, name, value)
    assert await tell(steward) is None
    assert told(steward) == []
