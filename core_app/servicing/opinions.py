"""The port to who watches public opinion: posts about us on complaint sites. Values and a Protocol. Pure.

What every feed has to promise (its contract test asks for each):
- posts come in the order of their places; asked again after the same place, the same posts come again;
- a post is named by site and reference, always alike; words and authors stay at its site.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Post:
    """A public post: its place in the feed, its site, its reference there, what it is about, since when."""

    place: int
    site: str
    reference: str
    about: Literal["fees", "collection", "service", "privacy", "fraud", "other"]
    seen_at: dt.datetime


class OpinionFeed(Protocol):
    """One vendor. Raises TimeoutError or OSError when it cannot be asked."""

    async def read(self, after: int, most: int) -> Sequence[Post]:
        """Return the posts after a place, at most so many."""
