"""Who goes together with whom, and what each of a group is told; the transaction itself stands still here."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core_app.commands import Answer, Command, Done
from core_app.core import LendingCore
from core_app.directory import Moving, Phase, deal
from core_app.errors import Kind, Refused
from core_app.loans import together
from core_app.loans.repay import WantedRepayment
from core_app.loans.together import AT_ONCE, MOST, GroupQueue
from core_app.router import MAX_WAITING, CellUnavailable
from core_app.slots import Home


class FakeRouter:
    cells = ("a",)
    directory = deal(("a", "b"))


class Posting:
    """Stands for what posts a group: notes the groups, waits until let go, answers or raises."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.go = asyncio.Event()
        self.fail: dict[str, Exception] = {}
        self.outcomes: dict[str, Refused] = {}

    async def __call__(
        self, core: Any, wanted: Sequence[WantedRepayment], seconds: float
    ) -> list[Done | Refused]:
        self.groups.append([one.key for one in wanted])
        try:
            await asyncio.wait_for(self.go.wait(), seconds)
        except TimeoutError:
            raise CellUnavailable("a", "not_done") from None
        for one in wanted:
            if one.key in self.fail:
                raise self.fail[one.key]
        return [
            self.outcomes.get(one.key) or Done("a", Answer(201, {"key": one.key}, 1, replayed=False))
            for one in wanted
        ]


@pytest.fixture
async def posting() -> Posting:
    return Posting()


def make_queue(posting: Posting, deadline_seconds: float = 5.0) -> GroupQueue[WantedRepayment]:
    core = object.__new__(LendingCore)
    object.__setattr__(core, "router", FakeRouter())
    object.__setattr__(core, "deadline_seconds", deadline_seconds)
    return GroupQueue(core, posting)


def make_wanted(number: int, loan: int | None = None) -> WantedRepayment:
    command = Command(f"key-{number:05d}", "repayment", b"", dt.date(2026, 1, 15))
    return WantedRepayment(command, f"L000-{number if loan is None else loan:032x}", 1, "a")


def send(queue: GroupQueue[WantedRepayment], number: int, loan: int | None = None) -> "asyncio.Task[Done]":
    return asyncio.create_task(queue.post(make_wanted(number, loan)))


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def fill(queue: GroupQueue[WantedRepayment]) -> list["asyncio.Task[Done]"]:
    """Have every transaction that may run at once under way, each with one repayment."""
    tasks = []
    for number in range(AT_ONCE):
        tasks.append(send(queue, 90_000 + number))
        await let_run()
    return tasks


async def test_at_rest_a_repayment_goes_alone_and_at_once(posting: Posting) -> None:
    posting.go.set()
    done = await send(make_queue(posting), 1)
    assert done.answer.body == {"key": "key-00001"}
    assert posting.groups == [["key-00001"]]


async def test_what_arrives_meanwhile_goes_together_in_the_order_it_came(posting: Posting) -> None:
    queue = make_queue(posting)
    tasks = await fill(queue) + [send(queue, number) for number in range(5)]
    await let_run()
    assert len(posting.groups) == AT_ONCE
    posting.go.set()
    answers = await asyncio.gather(*tasks)
    assert posting.groups[AT_ONCE] == [f"key-{number:05d}" for number in range(5)]
    assert [one.answer.body["key"] for one in answers[AT_ONCE:]] == posting.groups[AT_ONCE]


async def test_a_group_has_a_most(posting: Posting) -> None:
    queue = make_queue(posting)
    tasks = await fill(queue) + [send(queue, number) for number in range(MOST + 3)]
    await let_run()
    posting.go.set()
    await asyncio.gather(*tasks)
    assert max(map(len, posting.groups)) == MOST


async def test_no_loan_and_no_key_is_under_way_twice_and_a_loan_keeps_its_order(posting: Posting) -> None:
    queue = make_queue(posting)
    tasks = [send(queue, 1, loan=7)]
    await let_run()
    tasks += [send(queue, 2, loan=7), send(queue, 1, loan=8), send(queue, 3, loan=7), send(queue, 4, loan=9)]
    await let_run()
    assert posting.groups == [["key-00001"], ["key-00004"]]
    posting.go.set()
    await asyncio.gather(*tasks)
    assert posting.groups[2:] == [["key-00002", "key-00001"], ["key-00003"]]


async def test_who_waits_for_a_chunk_on_its_way_holds_up_nobody_else(posting: Posting) -> None:
    queue = make_queue(posting)
    moving = Moving(5, "a", "b", 1, Phase.COPYING, "me", "now")
    queue._core.router.directory = deal(("a", "b")).begin(moving)  # type: ignore[misc]
    stuck = [replace(make_wanted(number), cell=Home("a", [5])) for number in range(AT_ONCE * 2)]
    tasks = [asyncio.create_task(queue.post(one)) for one in stuck]
    await let_run()
    before = len(posting.groups)
    tasks.append(asyncio.create_task(queue.post(replace(make_wanted(900), cell=Home("a", [6])))))
    await let_run()
    assert posting.groups[before:] == [["key-00900"]]
    posting.go.set()
    await asyncio.gather(*tasks)


async def test_each_is_told_its_own_outcome(posting: Posting) -> None:
    queue = make_queue(posting)
    posting.outcomes["key-00002"] = Refused(Kind.INVALID, "too much")
    tasks = await fill(queue) + [send(queue, number) for number in (1, 2, 3)]
    await let_run()
    posting.go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found[AT_ONCE:]] == [Done, Refused, Done]


async def test_a_defect_of_one_is_not_the_others(posting: Posting) -> None:
    queue = make_queue(posting)
    posting.fail["key-00002"] = RuntimeError("a loan without funders")
    tasks = await fill(queue) + [send(queue, number) for number in (1, 2, 3)]
    await let_run()
    posting.go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found[AT_ONCE:]] == [Done, RuntimeError, Done]
    assert posting.groups[-3:] == [["key-00001"], ["key-00002"], ["key-00003"]]


async def test_what_is_unknown_of_a_group_is_unknown_for_each(posting: Posting) -> None:
    queue = make_queue(posting)
    posting.fail["key-00002"] = CellUnavailable("a", "unknown")
    tasks = await fill(queue) + [send(queue, number) for number in (1, 2)]
    await let_run()
    posting.go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(one, "outcome", None) for one in found[AT_ONCE:]] == ["unknown", "unknown"]


async def test_who_came_later_waits_longer_for_a_cell_that_is_away(posting: Posting) -> None:
    queue = make_queue(posting, 0.2)
    tasks = await fill(queue)
    tasks.append(send(queue, 1))
    await asyncio.sleep(0.1)
    late = send(queue, 2)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one.outcome for one in found if isinstance(one, CellUnavailable)] == ["not_done"] * 3
    assert not late.done()
    posting.go.set()
    assert (await late).answer.status == 201


async def test_for_a_caller_that_left_before_its_turn_nothing_is_done(posting: Posting) -> None:
    queue = make_queue(posting)
    tasks = await fill(queue)
    leaving, staying = send(queue, 1), send(queue, 2)
    await let_run()
    leaving.cancel()
    await let_run()
    posting.go.set()
    await asyncio.gather(*tasks, staying)
    assert "key-00001" not in {key for group in posting.groups for key in group}


async def test_a_full_queue_refuses_at_once(posting: Posting) -> None:
    queue = make_queue(posting)
    tasks = await fill(queue) + [send(queue, number) for number in range(MAX_WAITING)]
    await let_run()
    with pytest.raises(CellUnavailable) as refused:
        await send(queue, MAX_WAITING)
    assert refused.value.outcome == "not_done"
    posting.go.set()
    await asyncio.gather(*tasks)


async def test_who_comes_when_the_last_group_has_just_ended_is_not_forgotten(
    posting: Posting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that comes again at once does so before anybody saw the task end."""
    monkeypatch.setattr(together, "AT_ONCE", 1)
    queue = make_queue(posting)
    posting.go.set()
    async with asyncio.timeout(2):  # not in tasks of their own: they would begin later
        for number in range(3):
            await queue.post(make_wanted(number))
