"""Refuse bodies that are too large or too slow before anything parses them: a pure ASGI layer."""

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core_app.api.problem import make_answer, make_problem
from core_app.errors import FieldProblem, Kind

DRAINED_TIMES_LIMIT = 16
"""How much of an oversized body is read and thrown away before the answer, in limits. Source: our
choice, 1 MiB. A server that closes on unread bytes resets the connection, and the client would see
that reset instead of the 413."""


class BodyLimit:
    """Reads each request's body whole, up to `limit_bytes`, then hands it on; over it answers 413.

    The declared length is not asked: what counts are the bytes that arrive. A body that has not arrived
    whole after `limit_seconds` gets 408, so a client that sends byte by byte holds nothing for long.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, limit_seconds: float) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._limit_seconds = limit_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._limit_seconds):
                body = await self._read_body(receive)
        except TimeoutError:
            detail = f"The request body did not arrive within {self._limit_seconds:g} s. Nothing was done."
            await _close(
                make_answer(408, "The request body is too slow", "body-too-slow", detail, outcome="not_done"),
                scope,
                receive,
                send,
            )
            return
        if body is None:
            needed = FieldProblem("body", "a larger body", f"at most {self._limit_bytes} bytes")
            await _close(
                make_problem(Kind.TOO_LARGE, "The request body is too large.", needed), scope, receive, send
            )
            return
        first: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def replay() -> Message:
            nonlocal first
            message, first = first, None
            return await receive() if message is None else message

        await self._app(scope, replay, send)

    async def _read_body(self, receive: Receive) -> bytes | None:
        """Return the body, or None when it is over the limit; memory stays bounded either way."""
        chunks: list[bytes] = []
        size_bytes = 0
        more = True
        while more and size_bytes <= self._limit_bytes * DRAINED_TIMES_LIMIT:
            message = await receive()
            if message["type"] == "http.disconnect":
                # The client is gone: what follows sees an empty body and answers nobody.
                return b""
            chunk = message.get("body", b"")
            size_bytes += len(chunk)
            if size_bytes > self._limit_bytes:
                chunks.clear()
            else:
                chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks) if size_bytes <= self._limit_bytes else None


async def _close(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, and end the connection: the rest of the body would be taken for the next request."""
    answer.headers["Connection"] = "close"
    await answer(scope, receive, send)
