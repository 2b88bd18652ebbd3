"""A client that sends its body byte by byte holds a connection for a bounded time."""

import asyncio
import json
import time
from typing import Any

from core_app.settings import ApiSettings
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import make_person

LIMIT_SECONDS = 0.4
HEAD = b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nIdempotency-Key: slow-body-1\r\n"


async def trickle(url: str, head: bytes, piece: bytes) -> tuple[bytes, float]:
    """Send `piece` again and again without an end; return the answer and the seconds it took."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.monotonic()

    async def send() -> None:
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)  # this is the slowness

    writer.write(head)
    sending = asyncio.create_task(send())
    try:
        answer = await asyncio.wait_for(reader.read(), 10)  # to its end: the server closes
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
    return answer, time.monotonic() - began


async def test_a_body_that_does_not_arrive_in_time_is_408_and_the_connection_ends(
    core: Any, cells: Any
) -> None:
    settings = ApiSettings(body_seconds=LIMIT_SECONDS)
    async with serve_api(core, None, settings=settings) as client:
        declared = HEAD + b"Content-Length: 60000\r\n\r\n"
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for head, piece in ((declared, b" "), (chunked, b"1\r\n \r\n")):
            answer, took_seconds = await trickle(client.url, head, piece)
            head_lines, _, body = answer.partition(b"\r\n\r\n")
            assert head_lines.startswith(b"HTTP/1.1 408")
            assert b"application/problem+json" in head_lines
            assert json.loads(body)["outcome"] == "not_done"
            assert LIMIT_SECONDS <= took_seconds < 5
    assert sum((await cells.counts()).values()) == 0


async def test_a_body_within_its_time_is_taken(core: Any) -> None:
    async with serve_api(core, None, settings=ApiSettings(body_seconds=5.0)) as client:

        async def pieces() -> Any:
            text = json.dumps(make_person()).encode()
            for start in range(0, len(text), 20):
                yield text[start : start + 20]
                await asyncio.sleep(0.01)

        headers = {"Idempotency-Key": "slow-body-2", "Content-Type": "application/json"}
        assert (await client.send("POST", "/v1/customers", data=pieces(), headers=headers))[0] == 201
