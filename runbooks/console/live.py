"""The live page as server-sent events: parts of the page that changed, and a beat each half second."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from runbooks.console.pages import Pages
from runbooks.console.view import Platform
from runbooks.console.watch import Watch

PARTS = ("alarms", "sites", "cells", "copies")
"""Templates `_<part>.html` whose text is sent when it changes, each under its own name."""
SEND_SECONDS = 5.0
"""A browser that takes nothing for this long is dropped. Source: our choice, ten beats."""
CHECK_SECONDS = 5.0
"""Pause between two looks at whether the session still stands. Source: our choice."""
StillMay = Callable[[], Awaitable[str | None]]
"""Return None while the browser's user may go on, else why not (a key of `words`)."""
log = logging.getLogger("biyi.console")


class LiveAnswer(StreamingResponse):
    """A stream whose browser has to keep up: what is not taken in time ends it, the browser comes again."""

    send_seconds = SEND_SECONDS

    async def stream_response(self, send: Send) -> None:
        """Send all; ends early when the browser takes nothing for `send_seconds`."""

        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(self.send_seconds):
                await send(message)

        try:
            await super().stream_response(send_soon)
        except TimeoutError:
            log.warning("a browser took nothing of the live page for %g s and was dropped", self.send_seconds)


def make_event(name: str, text: str) -> str:
    """Return one server-sent event.

    >>> make_event("beat", "a\\nb")
    'event: beat\\ndata: a\\ndata: b\\n\\n'
    """
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n"


async def stream_platform(
    watch: Watch, pages: Pages, language: str, still_may: StillMay
) -> AsyncIterator[str]:
    """Yield events until the session is over: `beat` each time, a part's name when its text changed."""
    sent: dict[str, str] = {}
    checked_s = time.monotonic()
    refusal = await still_may()
    with watch.watched():
        platform = await watch.look_now()
        while refusal is None:
            yield "".join(changed_events(pages, language, platform, sent))
            platform = await watch.wait_for_news()
            if time.monotonic() - checked_s > CHECK_SECONDS:
                checked_s = time.monotonic()
                refusal = await still_may()
    yield make_event("over", pages.render("_over.html", language, reason=refusal))


def changed_events(pages: Pages, language: str, platform: Platform, sent: dict[str, str]) -> list[str]:
    """Return the events that bring a browser from what was `sent` to `platform`, and note them there."""
    events = [make_event("beat", pages.render("_beat.html", language, platform=platform))]
    for part in PARTS:
        text = pages.render(f"_{part}.html", language, platform=platform)
        if sent.get(part) != text:
            sent[part] = text
            events.append(make_event(part, text))
    return events
