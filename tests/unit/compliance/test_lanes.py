"""Works spread over lanes: in order, each once, and one that fails ends them all."""

import asyncio
from typing import Any

import pytest

from compliance.reporting.lanes import Lane, spread


async def test_results_come_in_the_order_of_the_works_and_each_lane_does_one_at_a_time() -> None:
    lanes: Any = [["first"], ["second"]]
    busy: set[str] = set()
    most = 0

    def make(number: int) -> Any:
        async def work(lane: Lane) -> int:
            nonlocal most
            (name,) = map(str, lane)
            assert name not in busy
            busy.add(name)
            most = max(most, len(busy))
            await asyncio.sleep(0.001 * (7 - number))
            busy.remove(name)
            return number

        return work

    assert await spread(lanes, [make(number) for number in range(7)]) == list(range(7))
    assert most == 2
    assert await spread(lanes, []) == []


async def test_the_first_error_is_raised_as_it_is_and_ends_the_others() -> None:
    ended: list[str] = []

    async def fail(_: Lane) -> None:
        await asyncio.sleep(0)
        raise OSError("disk")

    async def last(_: Lane) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def never(_: Lane) -> None:
        ended.append("begun")

    with pytest.raises(OSError, match="disk"):
        await spread([[], []], [last, fail, never])
    assert ended == ["cancelled"]
