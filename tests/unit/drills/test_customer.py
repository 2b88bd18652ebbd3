"""A customer against real servers that refuse, hang, answer 503 or cut the line."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from runbooks.drills.customer import Customers, Patience, Request, judge_status
from runbooks.drills.records import Outcome

QUICK = Patience(op_s=3.0, attempt_s=0.3, connect_s=0.2, pause_s=0.01, pause_most_s=0.05, shun_s=1.0)
PAY = Request("POST", "/v1/repayments", "key-00001", {"loan_id": "L1", "amount_fen": 100})


class Entrance:
    """A server that answers each request by the next of its scripted words; the last word stays."""

    def __init__(self, *words: str) -> None:
        self.words = list(words)
        self.keys: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Idempotency-Key", ""))
        word = self.words[0] if len(self.words) == 1 else self.words.pop(0)
        if word == "hang":
            await asyncio.sleep(5)
        if word == "cut":
            assert request.transport is not None
            request.transport.abort()
        if word in ("not_done", "unknown"):
            return web.json_response({"outcome": word}, status=503)
        if word == "refuse":
            return web.json_response({"title": "over limit"}, status=422)
        headers = {"biyi-cell": "a", "Biyi-Epoch": "7", "BIYI-REPLAYED": "true"}
        return web.json_response({"balance_fen": 5}, status=201, headers=headers)


@asynccontextmanager
async def listening(entrance: Entrance) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", entrance.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def two_entrances(idc: Entrance, cloud: Entrance) -> AsyncIterator[Customers]:
    async with (
        listening(idc) as first,
        listening(cloud) as second,
        Customers({"idc": first, "cloud": second}, QUICK) as customers,
    ):
        yield customers


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_takes_epoch_cell_and_replay_from_the_answer() -> None:
    async with two_entrances(Entrance("ok"), Entrance("ok")) as customers:
        settled = await customers.settle(PAY, "idc")
    assert (settled.outcome, settled.cell, settled.epoch, settled.replayed) == (Outcome.OK, "a", 7, True)


@pytest.mark.parametrize("trouble", ["not_done", "unknown", "hang", "cut"])
async def test_asks_again_at_the_other_entrance_with_the_same_key(trouble: str) -> None:
    idc, cloud = Entrance(trouble), Entrance("ok")
    async with two_entrances(idc, cloud) as customers:
        settled = await customers.settle(PAY, "idc")
    assert settled.outcome is Outcome.OK
    assert [attempt.entrance for attempt in settled.attempts] == ["idc", "cloud"]
    assert (idc.keys, cloud.keys) == (["key-00001"], ["key-00001"])


async def test_comes_back_to_the_first_entrance_when_the_other_is_no_better() -> None:
    async with two_entrances(Entrance("not_done", "ok"), Entrance("not_done")) as customers:
        settled = await customers.settle(PAY, "idc")
    assert [attempt.entrance for attempt in settled.attempts] == ["idc", "cloud", "idc"]


async def test_avoids_an_entrance_that_refused_the_connection() -> None:
    cloud = Entrance("ok")
    async with listening(cloud) as url:
        entrances = {"idc": f"http://127.0.0.1:{closed_port()}", "cloud": url}
        async with Customers(entrances, QUICK) as customers:
            await customers.settle(PAY, "idc")
            second = await customers.settle(PAY, "idc")
    assert [attempt.entrance for attempt in second.attempts] == ["cloud"]


async def test_goes_elsewhere_when_its_entrance_has_left_meanwhile() -> None:
    idc, cloud = Entrance("cut", "ok"), Entrance("ok")
    async with two_entrances(idc, cloud) as customers:
        asking = asyncio.create_task(customers.settle(PAY, "idc"))
        await asyncio.sleep(0)
        del customers.entrances["idc"]
        settled = await asking
        assert (settled.outcome, settled.attempts[-1].entrance) == (Outcome.OK, "cloud")
        assert (await customers.settle(PAY, "idc")).attempts[0].entrance == "cloud"


async def test_a_black_hole_costs_no_more_than_one_attempt() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(8)  # accepts by backlog, never answers
        cloud = Entrance("ok")
        async with listening(cloud) as url:
            entrances = {"idc": f"http://127.0.0.1:{mute.getsockname()[1]}", "cloud": url}
            async with Customers(entrances, QUICK) as customers:
                settled = await customers.settle(PAY, "idc")
    first, second = settled.attempts
    assert (first.outcome, second.outcome) == (Outcome.UNKNOWN, Outcome.OK)
    assert (second.end_ns - first.start_ns) / 1e9 < QUICK.attempt_s + 0.5


async def test_fails_for_certain_when_nothing_was_ever_sent() -> None:
    dead = f"http://127.0.0.1:{closed_port()}"
    async with Customers({"idc": dead, "cloud": dead}, QUICK) as customers:
        settled = await customers.settle(PAY, "idc", op_s=0.3)
    assert settled.outcome is Outcome.FAIL
    assert all(attempt.outcome is Outcome.FAIL for attempt in settled.attempts)


async def test_fails_for_certain_when_every_answer_says_not_done() -> None:
    async with two_entrances(Entrance("not_done"), Entrance("not_done")) as customers:
        assert (await customers.settle(PAY, "idc", op_s=0.3)).outcome is Outcome.FAIL


async def test_is_unknown_when_one_attempt_may_have_taken_effect() -> None:
    async with two_entrances(Entrance("cut", "not_done"), Entrance("not_done")) as customers:
        assert (await customers.settle(PAY, "idc", op_s=0.3)).outcome is Outcome.UNKNOWN


async def test_a_read_that_never_succeeds_has_failed_for_it_changes_nothing() -> None:
    async with two_entrances(Entrance("cut"), Entrance("cut")) as customers:
        assert (await customers.settle(Request("GET", "/v1/loans/L1"), "idc", 0.3)).outcome is Outcome.FAIL


async def test_does_not_ask_again_what_was_refused_for_good() -> None:
    async with two_entrances(Entrance("refuse"), Entrance("ok")) as customers:
        settled = await customers.settle(PAY, "idc")
    assert (settled.outcome, settled.status, len(settled.attempts)) == (Outcome.FAIL, 422, 1)


@pytest.mark.parametrize(
    ("status", "answer", "judged"),
    [
        (200, {}, (Outcome.OK, True)),
        (201, {}, (Outcome.OK, True)),
        (400, {}, (Outcome.FAIL, True)),
        (409, {}, (Outcome.FAIL, True)),
        (429, {}, (Outcome.FAIL, False)),
        (500, {}, (Outcome.UNKNOWN, False)),
        (502, {}, (Outcome.UNKNOWN, False)),
        (503, {"outcome": "not_done"}, (Outcome.FAIL, False)),
        (503, {"outcome": "unknown"}, (Outcome.UNKNOWN, False)),
        (503, {}, (Outcome.UNKNOWN, False)),
    ],
)
def test_reads_statuses_with_three_values(
    status: int, answer: dict[str, str], judged: tuple[Outcome, bool]
) -> None:
    assert judge_status(status, answer) == judged
