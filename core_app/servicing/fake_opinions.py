"""An opinion feed for the stand and for tests: it lies outside our machines."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from core_app.servicing.opinions import Post


@dataclass(slots=True)
class FakeOpinionFeed:
    """Gives the posts it was made with; `down`: it cannot be asked."""

    posts: list[Post] = field(default_factory=list)
    down: bool = False

    async def read(self, after: int, most: int) -> Sequence[Post]:
        """Return the posts after a place, in order."""
        if self.down:
            raise OSError("the feed is down")
        return sorted((one for one in self.posts if one.place > after), key=lambda one: one.place)[:most]
