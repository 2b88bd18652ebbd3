"""Refuse bodies over the limit before anything parses them, chunked ones too: a pure ASGI layer."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core_app.api.problem import make_problem
from core_app.errors import FieldProblem, Kind

DRAINED_TIMES_LIMIT = 16
"""How much of an oversized body is read and thrown away before the answer, in limits. Source: our
choice, 1 MiB. A server that closes on unread bytes resets the connection, and the client would see
that reset instead of the 413."""


class BodyLimit:
    """Reads each request's body whole, up to `limit_bytes`, then hands it on; over it answers 413.

    The declared length is not asked: what counts are the bytes that arrive.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        body = await self._read_body(receive)
        if body is None:
            answer = make_problem(
                Kind.TOO_LARGE,
                "The request body is too large.",
                FieldProblem("body", "a larger body", f"at most {self._limit_bytes} bytes"),
            )
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
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
