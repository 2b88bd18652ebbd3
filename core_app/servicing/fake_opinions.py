"""An opinion feed for the stand and for tests: it lies outside our machines."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core_app.servicing.opinions import Post


@dataclass(slots=True)
class FakeOpinionFeed:
    """Gives the posts it was made with, and those of a file, one JSON object a line; `down`: cannot be asked.

    `{"site": "heimao", "reference": "17000000001", "about": "fees", "seen_at": "2026-11-23T09:00:00+08:00"}`;
    a line's number is the post's place.
    """

    posts: list[Post] = field(default_factory=list)
    down: bool = False
    file: Path | None = None

    async def read(self, after: int, most: int) -> Sequence[Post]:
        """Return the posts after a place, in order. OSError when it is down or a line is no post."""
        if self.down:
            raise OSError("the feed is down")
        posts = [*self.posts, *(self._read_file() if self.file is not None else ())]
        return sorted((one for one in posts if one.place > after), key=lambda one: one.place)[:most]

    def _read_file(self) -> list[Post]:
        assert self.file is not None  # noqa: S101 - asked before
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        posts = []
        for place, line in enumerate(lines, 1):
            try:
                said = json.loads(line)
                seen = dt.datetime.fromisoformat(said["seen_at"])
                posts.append(Post(place, said["site"], said["reference"], said["about"], seen))
            except (ValueError, KeyError, TypeError) as error:
                raise OSError(f"{self.file.name}, line {place}: no post ({type(error).__name__})") from error
        return posts
