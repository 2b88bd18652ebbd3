"""Questions that come together share a round trip; nobody gets another's answer, or is left waiting."""

import asyncio
from collections.abc import Sequence

import pytest

from core_app.round_trip import MOST, RoundTrips


class Far:
    """Answers each group after a while; a question 13 makes its round trip fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    async def ask_all(self, questions: Sequence[int]) -> list[int]:
        self.groups.append(list(questions))
        await asyncio.sleep(0.01)
        if 13 in questions:
            raise ConnectionError("lost")
        return [-question for question in questions]


async def test_what_comes_during_a_round_trip_shares_the_next_in_order() -> None:
    far = Far()
    trips = RoundTrips(far.ask_all)
    assert await trips.ask(1) == -1
    first = asyncio.create_task(trips.ask(2))
    await asyncio.sleep(0.005)
    assert await asyncio.gather(*(trips.ask(n) for n in range(20, 120))) == [-n for n in range(20, 120)]
    assert await first == -2
    assert far.groups == [[1], [2], list(range(20, 20 + MOST)), list(range(20 + MOST, 120))]


async def test_a_lost_round_trip_is_told_to_its_group_alone() -> None:
    far = Far()
    trips = RoundTrips(far.ask_all)
    answers = await asyncio.gather(*(trips.ask(n) for n in (12, 13)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    assert await trips.ask(14) == -14


async def test_who_leaves_is_not_asked_for_and_holds_nobody_up() -> None:
    far = Far()
    trips = RoundTrips(far.ask_all)
    asked = [asyncio.create_task(trips.ask(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    asked[1].cancel()
    assert [await asked[0], await asked[2]] == [-1, -3]
    with pytest.raises(asyncio.CancelledError):
        await asked[1]
    assert far.groups == [[1, 3]]
