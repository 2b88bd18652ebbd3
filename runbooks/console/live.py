"""The live page as server-sent events: parts of the page that changed, and a beat each half second."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

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


class LiveParts:
    """The texts of the live page, made once a page and language however many browsers watch."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._made: dict[str, tuple[Platform, dict[str, str]]] = {}

    def texts(self, language: str, platform: Platform) -> dict[str, str]:
        """Return the text of `beat` and of each of `PARTS`."""
        made = self._made.get(language)
        if made is None or made[0] is not platform:
            names = ("beat", *PARTS)
            texts = {name: self._pages.render(f"_{name}.html", language, platform=platform) for name in names}
            made = self._made[language] = platform, texts
        return made[1]

    def over(self, language: str, reason: str) -> str:
        """Return the text that a stream ends with."""
        return self._pages.render("_over.html", language, reason=reason)


async def stream_platform(
    watch: Watch, parts: LiveParts, language: str, still_may: StillMay
) -> AsyncIterator[str]:
    """Yield events until the session is over: `beat` each time, a part's name when its text changed."""
    sent: dict[str, str] = {}
    checked_s = time.monotonic()
    refusal = await still_may()
    with watch.watched():
        platform = await watch.look_now()
        while refusal is None:
            yield "".join(changed_events(parts.texts(language, platform), sent))
            platform = await watch.wait_for_news()
            if time.monotonic() - checked_s > CHECK_SECONDS:
                checked_s = time.monotonic()
                refusal = await still_may()
    yield make_event("over", parts.over(language, refusal))


def changed_events(texts: Mapping[str, str], sent: dict[str, str]) -> list[str]:
    """Return the events that bring a browser from what was `sent` to `texts`, and note them there.

    The beat goes in any case: it says that the page is heard.
    """
    changed = {name: text for name, text in texts.items() if name == "beat" or sent.get(name) != text}
    sent.update(changed)
    return [make_event(name, text) for name, text in changed.items()]
