"""A service bot for the stand and for tests: it lies outside our machines."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from core_app.customers.service_bot import BotAnswer, BotUnavailable, Language

ARTICLES: Mapping[str, tuple[str, Mapping[Language, str]]] = {
    "prepay": ("faq-12", {"zh": "可以随时提前还款，费用以合同为准。", "en": "You may prepay at any time."}),
    "提前还款": ("faq-12", {"zh": "可以随时提前还款，费用以合同为准。", "en": "You may prepay at any time."}),
}
HANDED_OVER = ("complaint", "投诉", "hardship", "困难")


@dataclass(slots=True)
class FakeServiceBot:
    """Answers by key words of `articles`; can be slow or down."""

    articles: Mapping[str, tuple[str, Mapping[Language, str]]] = field(default_factory=lambda: dict(ARTICLES))
    delay_ms: int = 0
    down: bool = False

    async def ask(self, question: str, language: Language) -> BotAnswer:
        """Answer after `delay_ms`; what no key word fits is handed over."""
        await asyncio.sleep(self.delay_ms / 1000)
        if self.down:
            raise BotUnavailable("down")
        if any(word in question for word in HANDED_OVER):
            return BotAnswer()
        for word, (article, texts) in self.articles.items():
            if word in question:
                return BotAnswer(texts[language], article)
        return BotAnswer()
