"""The port to the service bot (NLP) that answers customers' questions, with its time limit.

What every bot has to promise (its contract test asks for each): an answer rests on an article of ours,
whose id comes along; what it is not sure of, and whatever is a complaint or a hardship, it hands over to a
person and says nothing itself; what it cannot say now is BotUnavailable. No personal data are sent to it:
who asks takes them out.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

Language = Literal["zh", "en"]
PATIENCE_SECONDS = 3.0
"""Patience with the bot. Source: our choice; then a person takes over."""


class BotUnavailable(Exception):
    """The bot could not be reached or said that it cannot answer now."""


@dataclass(frozen=True, slots=True)
class BotAnswer:
    """What a bot says, by which article; no text means that a person has to answer."""

    text: str = ""
    article: str = ""

    @property
    def hands_over(self) -> bool:
        """Say whether a person has to answer."""
        return not (self.text and self.article)


class ServiceBot(Protocol):
    """One vendor of a bot."""

    async def ask(self, question: str, language: Language) -> BotAnswer:
        """Answer a question, or hand it over."""


async def ask_bot(bot: ServiceBot | None, question: str, language: Language) -> BotAnswer:
    """Ask once; whatever goes wrong is handed over to a person."""
    if bot is None:
        return BotAnswer()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await bot.ask(question, language)
    except (BotUnavailable, TimeoutError, OSError):
        return BotAnswer()
    return BotAnswer() if answer.hands_over else answer
