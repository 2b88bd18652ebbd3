"""What the daily path says is usual, brought into a site's Valkey from its own copy of the accounts' cell.

Published rows (`watch.profiles`) are read as biyi_ueba when there are newer ones; a site that was away gets
them with its copy, and a Valkey that was wiped is filled again.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from replication.postgres.copy import UEBA
from replication.projection.copy import CopyConnection, connect_copy
from replication.settings import PlaceSettings, SiteSettings
from ueba.provisional import Profile
from ueba.stream import Marks, StreamScorer, write_listed, write_marks, write_profiles

LOOK_SECONDS = 5.0
"""Pause between two looks for what is newer. Source: our choice; it changes once a day."""
_MARK = "ueba:published"
_PAGE = 1000
_NEWEST = "select at::text, card -> 'listed' from watch.publications order by at desc limit 1"
_READ = "select staff, document from watch.profiles where staff > %s order by staff limit %s"


@dataclass(slots=True)
class Keeper:
    """Keeps the profiles of one site's Valkey up to date with its copy of the first cell."""

    places: tuple[PlaceSettings, ...]
    passfile: Path
    valkey: "Redis"
    scorer: StreamScorer
    published: str = ""
    staff: int = 0
    why: str = ""

    @classmethod
    def of(cls, site: SiteSettings, valkey: "Redis", scorer: StreamScorer) -> "Keeper":
        """Return the keeper of a site."""
        first = site.cells[0].name
        own = sorted((p for p in site.own_places() if p.cell == first), key=lambda place: place.ordinal)
        return cls(tuple(own), site.passfile, valkey, scorer)

    def show(self) -> dict[str, Any]:
        """Return what is known, for people."""
        return {"published": self.published, "staff": self.staff, "why": self.why}

    async def run(self) -> None:
        """Look again and again until cancelled; what fails is tried again."""
        while True:
            for place in self.places:
                try:
                    connecting = connect_copy(place, self.passfile, application="biyi-watcher", user=UEBA)
                    async with await connecting as connection:
                        await self.take(connection)
                    self.why = ""
                except (psycopg.Error, RedisError, OSError) as error:
                    self.why = type(error).__name__
            await asyncio.sleep(LOOK_SECONDS)

    async def take(self, connection: CopyConnection) -> bool:
        """Bring what was published into Valkey unless it is there; says whether there was something new."""
        row = await (await connection.execute(_NEWEST)).fetchone()
        if row is None or await self.valkey.get(_MARK) == row[0]:
            return False
        after, self.staff = "", 0
        while page := await (await connection.execute(_READ, [after, _PAGE])).fetchall():
            read = {staff: read_profile(document) for staff, document in page}
            await write_profiles(
                self.valkey, {name: one[0] for name, one in read.items()}, {n: o[1] for n, o in read.items()}
            )
            await write_marks(self.valkey, {name: one[2] for name, one in read.items()})
            after, self.staff = page[-1][0], self.staff + len(page)
        await write_listed(self.valkey, row[1] or ())
        self.scorer.forget_profiles()
        await self.valkey.set(_MARK, row[0])
        self.published = dt.datetime.fromisoformat(row[0]).isoformat()
        return True


def read_profile(document: dict[str, Any]) -> tuple[Profile, tuple[str, ...], Marks]:
    """Return the profile, the words used, and the marks of a published document."""
    profile = Profile(document["mean"], document["sd"], document["days"])
    marks = Marks(document["silenced"], tuple(document["related"]))
    return profile, tuple(document["words"]), marks


def plain_profile(profile: Profile, words: tuple[str, ...], marks: Marks) -> dict[str, Any]:
    """Return what is published of one member of staff."""
    return {
        "mean": dict(profile.mean), "sd": dict(profile.sd), "days": profile.days, "words": sorted(words),
        "silenced": marks.silenced, "related": sorted(marks.related),
    }  # fmt: skip
