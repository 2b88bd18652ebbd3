"""Token buckets in a real Valkey: exact under concurrency, and no reason to stop when Valkey is lost."""

import asyncio
import contextlib
import logging
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from core_app.api.rate_limit import Buckets
from core_app.settings import ApiSettings
from replication.projection.valkey import Valkey, open_valkey
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import make_person
from tests.integration.frozen import freeze
from tests.integration.projection.scene import Server

NEVER = 0.001  # tokens a second: none comes back within a test
PATIENCE_SECONDS = 0.1


def digest(text: bytes) -> bytes:
    """Stand in for the vault's keyed digest."""
    return text[::-1]


def limits(**changes: float) -> ApiSettings:
    rates = {"rate_address_per_second": NEVER, "rate_client_per_second": NEVER}
    return ApiSettings(**(rates | {"rate_address_burst": 20.0, "rate_client_burst": 5.0} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[Server]:
    made = Server()
    asyncio.run(made.start())
    yield made
    made.kill()
    shutil.rmtree(made.folder)


@pytest.fixture
async def valkey(valkey_server: Server) -> AsyncIterator[Valkey]:
    async with open_valkey(valkey_server.port, valkey_server.password_file, PATIENCE_SECONDS * 20) as client:
        await client.flushall()
        yield client


def make_buckets(
    valkey: Valkey, settings: ApiSettings, read_elapsed: Callable[[], float] = time.monotonic
) -> Buckets:
    return Buckets(valkey, settings, digest, read_elapsed)


async def test_exactly_the_burst_passes_however_many_processes_ask_at_once(valkey: Valkey) -> None:
    processes = [make_buckets(valkey, limits()) for _ in range(3)]
    waits = await asyncio.gather(*(processes[n % 3].take("192.0.2.1", None) for n in range(300)))
    assert waits.count(0) == 20
    assert sum(process.counts.refused for process in processes) == 280


async def test_a_crowd_of_requests_does_not_pass_for_a_lost_valkey(valkey: Valkey) -> None:
    buckets = make_buckets(valkey, ApiSettings(rate_address_burst=20.0, rate_address_per_second=NEVER))
    waits = await asyncio.gather(*(buckets.take("192.0.2.1", None) for n in range(300)))
    assert (waits.count(0), buckets.counts.unchecked) == (20, 0)


async def test_tokens_come_back_at_the_rate_and_the_advised_wait_is_enough(valkey: Valkey) -> None:
    buckets = make_buckets(valkey, limits(rate_address_per_second=10.0, rate_address_burst=2.0))
    began = time.monotonic()
    passed = 0
    while passed < 8:
        wait_seconds = await buckets.take("192.0.2.1", None)
        assert wait_seconds <= 0.1
        passed += wait_seconds == 0
        await asyncio.sleep(wait_seconds)
    # Two at once, six more at ten a second; a token may be up to a microsecond early by rounding.
    assert time.monotonic() - began >= 0.599


async def test_names_within_an_address_do_not_starve_each_other_and_gain_nothing(valkey: Valkey) -> None:
    buckets = make_buckets(valkey, limits())
    assert [await buckets.take("192.0.2.1", "app") == 0 for _ in range(7)] == [True] * 5 + [False] * 2
    assert await buckets.take("192.0.2.1", "web") == 0
    assert await buckets.take("192.0.2.2", "app") == 0
    made_up = [await buckets.take("192.0.2.1", f"name-{n}") == 0 for n in range(30)]
    assert made_up.count(True) == 20 - 5 - 1  # what the address had left: refusals took nothing from it


async def test_neither_an_address_nor_a_name_is_in_valkey_and_buckets_expire(valkey: Valkey) -> None:
    await make_buckets(valkey, limits(rate_address_per_second=10.0)).take("192.0.2.1", "app")
    keys = [key async for key in valkey.scan_iter("*")]
    assert len(keys) == 2
    assert not any("192.0.2.1" in key or "app" in key for key in keys)
    assert all([await valkey.ttl(key) > 0 for key in keys])


@contextlib.asynccontextmanager
async def limited_api(core: Any, valkey: Valkey, **changes: float) -> AsyncIterator[Any]:
    settings = limits(**changes)
    async with serve_api(core, None, buckets=make_buckets(valkey, settings), settings=settings) as client:
        yield client


async def test_who_asks_too_often_gets_429_and_leaves_no_row(core: Any, cells: Any, valkey: Valkey) -> None:
    async with limited_api(core, valkey, rate_address_per_second=0.2, rate_address_burst=3.0) as client:
        answers = [await client.post("/v1/customers", make_person()) for _ in range(6)]
        assert [status for status, _, _ in answers] == [201] * 3 + [429] * 3
        _, problem, headers = answers[-1]
        assert headers["Content-Type"] == "application/problem+json"
        assert 1 <= int(headers["Retry-After"]) <= 5
        assert (problem["status"], problem["outcome"]) == (429, "not_done")
        ready = (await client.get("/readyz"))[1]
        assert ready["rate_limit"] == {"refused": 3, "unchecked": 0}
        assert (await client.get("/healthz"))[0] == 200
    assert (await cells.counts())["customers"] == 3


async def test_what_a_client_says_of_its_address_is_not_believed(core: Any, valkey: Valkey) -> None:
    async with limited_api(core, valkey, rate_address_burst=3.0) as client:
        statuses = [
            (await client.send("GET", "/v1/loans/x", headers={"X-Forwarded-For": f"192.0.2.{n}"}))[0]
            for n in range(5)
        ]
    assert statuses == [404] * 3 + [429] * 2


async def test_without_valkey_everything_passes_and_it_is_said_once(
    core: Any, valkey_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    settings = limits(rate_address_burst=2.0, rate_retry_seconds=1.0)
    async with open_valkey(valkey_server.port, valkey_server.password_file, 2.0) as valkey:
        await valkey.flushall()
        buckets = make_buckets(valkey, settings, lambda: now)
        valkey_server.kill()
        async with serve_api(core, None, buckets=buckets, settings=settings) as client:
            assert {(await client.get("/v1/loans/x"))[0] for _ in range(10)} == {404}
            now += 1.5
            assert (await client.get("/v1/loans/x"))[0] == 404
            assert buckets.counts.unchecked == 11
            assert len(said(caplog)) == 1
            await valkey_server.start()
            now += 1.5
            assert [(await client.get("/v1/loans/x"))[0] for _ in range(3)] == [404, 404, 429]
    assert said(caplog)[1].endswith("11 requests went unchecked")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and "rate limit" in r.msg]


async def test_a_valkey_that_hangs_costs_a_crowd_one_patience_and_the_next_nothing(
    valkey_server: Server,
) -> None:
    async with open_valkey(valkey_server.port, valkey_server.password_file, PATIENCE_SECONDS) as valkey:
        await valkey.flushall()
        buckets = make_buckets(valkey, limits(), lambda: 0.0)
        assert valkey_server.process is not None
        freeze(valkey_server.process.pid)
        try:
            began = time.monotonic()
            assert set(await asyncio.gather(*(buckets.take("192.0.2.1", None) for _ in range(200)))) == {0}
            crowd_seconds = time.monotonic() - began
            began = time.monotonic()
            for _ in range(50):
                assert await buckets.take("192.0.2.1", None) == 0
            later_seconds = time.monotonic() - began
        finally:
            valkey_server.process.send_signal(signal.SIGCONT)
    assert buckets.counts.unchecked == 250
    assert PATIENCE_SECONDS * 0.9 <= crowd_seconds < PATIENCE_SECONDS * 8  # 200 in turns of 16 would be 12.5
    assert later_seconds < PATIENCE_SECONDS


def test_the_limits_are_far_above_what_a_drill_sends() -> None:
    settings = ApiSettings()
    drill_per_second = 200
    assert settings.rate_address_per_second >= 5 * drill_per_second
    assert settings.rate_client_per_second >= 2 * drill_per_second
