"""Few decisions of a cell at once, a bounded queue, and a refusal before any work beyond it."""

import asyncio

import pytest

from core_app.api.shedding import Overloaded, Turns
from core_app.settings import ApiSettings

BOUND_S = 5
"""Nothing here takes long: whoever still waits then was let in or kept out wrongly, and the test is red."""


class Held:
    """Work that stays until it is let go; notes who began, and how many were at it together."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[int] = []
        self.most = self.now = 0
        self.gate = asyncio.Event()

    async def decide(self, number: int, cell: str = "a", cells: int = 1) -> int:
        async with asyncio.timeout(BOUND_S), self.turns.take(cell, cells):
            self.begun.append(number)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.gate.wait()
                if number == 1:
                    raise RuntimeError("a defect")
                return number
            finally:
                self.now -= 1


def make_held(at_once: int, waiting: int, away: str = "") -> Held:
    return Held(Turns(at_once, waiting, lambda cell: cell != away))


async def test_what_is_beyond_the_queue_is_refused_before_work_and_the_rest_is_served_in_order() -> None:
    held = make_held(at_once=2, waiting=3)
    admitted = [asyncio.ensure_future(held.decide(number)) for number in range(5)]
    await asyncio.sleep(0)
    for number in range(5, 20):
        with pytest.raises(Overloaded):
            await held.decide(number)
    assert held.begun == [0, 1]
    held.gate.set()
    done = await asyncio.gather(*admitted, return_exceptions=True)
    assert [one if isinstance(one, int) else type(one) for one in done] == [0, RuntimeError, 2, 3, 4]
    assert (held.begun, held.most) == ([0, 1, 2, 3, 4], 2)
    # A defect gave its turn back: as many as before are served again.
    assert await asyncio.gather(*(held.decide(number) for number in range(20, 25))) == [20, 21, 22, 23, 24]


async def test_a_full_cell_leaves_the_others_their_turns() -> None:
    held = make_held(at_once=2, waiting=2)
    first = [asyncio.ensure_future(held.decide(number, "a", 2)) for number in (10, 11)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await held.decide(12, "a", 2)
    other = asyncio.ensure_future(held.decide(13, "b", 2))
    await asyncio.sleep(0)
    assert held.begun == [10, 13]
    held.gate.set()
    assert await asyncio.gather(*first, other) == [10, 11, 13]


async def test_what_is_for_a_cell_that_is_away_waits_there_and_is_never_called_too_much() -> None:
    held = make_held(at_once=1, waiting=0, away="b")
    waiting = [asyncio.ensure_future(held.decide(number, "b", 2)) for number in range(100, 150)]
    await asyncio.sleep(0)
    assert len(held.begun) == 50
    held.gate.set()
    assert await held.decide(3, "a", 2) == 3
    await asyncio.gather(*waiting)


async def test_a_caller_that_gives_up_while_it_waits_frees_its_place() -> None:
    held = make_held(at_once=1, waiting=1)
    first, waiting = (asyncio.ensure_future(held.decide(number)) for number in (0, 2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.gate.set()
    assert (await held.decide(3), await first) == (3, 0)
    assert held.begun == [0, 3]


def test_a_queue_that_serves_nobody_is_no_setting() -> None:
    with pytest.raises(ValueError, match="decisions_at_once"):
        ApiSettings(decisions_at_once=0)
