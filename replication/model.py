"""The words of failover as values: sites, copies, grants, beats. No I/O, no clock.

A copy is its data directory, not its host: its id carries the place it stands at and a random
part made when the directory was made, so a re-cloned or rewound directory is another copy.
"""

import enum
import json
import re
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from replication.snapshot import snapshot


class Site(enum.StrEnum):
    """A failure domain. The witness holds one etcd vote and no customer data."""

    IDC = "idc"
    CLOUD = "cloud"
    WITNESS = "witness"


DATA_SITES = (Site.IDC, Site.CLOUD)

Degrade = Literal["after", "block"]
"""A cell's policy when no copy acknowledges: write alone after a while, or wait for one, however long."""
WithoutEtcd = Literal["stop", "peer"]
"""A cell's policy when etcd has no quorum: stop, or go on while sync copies and the peer agent agree."""


def other_data_site(site: Site) -> Site:
    """Return the data site that is not `site`."""
    return Site.CLOUD if site is Site.IDC else Site.IDC


class Mode(enum.StrEnum):
    """What a grant says about its cell.

    SYNC: every acknowledged commit is on disk at each member of the sync set.
    ALONE: no second copy has everything; nothing may be promoted automatically.
    TAKING: the candidate may promote itself; nobody may acknowledge anything.
    MOVING: a planned move is under way; the primary drains, routers gate new transactions.
    """

    SYNC = "SYNC"
    ALONE = "ALONE"
    TAKING = "TAKING"
    MOVING = "MOVING"


_COPY_ID = re.compile(r"([a-z][a-z0-9]*)-(idc|cloud)-([0-9])-([0-9a-z]+)")


@dataclass(frozen=True, slots=True, order=True)
class CopyId:
    """Name of one copy: `<cell>-<site>-<ordinal>-<nonce>`, also its application_name.

    >>> CopyId.parse("a-idc-0-5f3a9c21").place
    'a-idc-0'
    """

    cell: str
    site: Site
    ordinal: int
    nonce: str
    place: str = field(init=False, compare=False, repr=False)
    """Name of the place the directory stands at; stable over re-clones."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", f"{self.cell}-{self.site}-{self.ordinal}")

    # Ids are compared and hashed at every look, and two that differ nearly always differ in what is random.
    def __hash__(self) -> int:
        return hash(self.nonce)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, CopyId):
            return NotImplemented
        return self.nonce == other.nonce and self.place == other.place

    def __str__(self) -> str:
        return f"{self.place}-{self.nonce}"

    @classmethod
    def parse(cls, text: str) -> "CopyId":
        """Read an id back; ValueError says what was found and what is needed."""
        found = _COPY_ID.fullmatch(text)
        if found is None:
            raise ValueError(f"copy id {text!r}: needs <cell>-<site>-<ordinal>-<nonce>")
        cell, site, ordinal, nonce = found.groups()
        return cls(cell, Site(site), int(ordinal), nonce)


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may write a cell; lives in etcd, changed only by compare-and-swap on its revision.

    `epoch` grows by one each time a copy is allowed to become primary. `sync_set` is always a
    subset of the copies PostgreSQL waits for (I3). `timeline` is the primary's when it was
    granted; `lsn_marker` the WAL position (`X/Y`) of its epoch marker. `by` is the copy that
    swapped, `at` its wall clock (aware UTC, ISO 8601) for people only: no decision reads it.
    `pinned` says that an operator moved the cell here: it goes home only when told to.
    `reserved_timeline` is the highest timeline ever given to a candidate of this cell (0: none yet).
    """

    cell: str
    epoch: int
    primary: CopyId
    sync_set: frozenset[CopyId]
    mode: Mode
    candidate: CopyId | None = None
    timeline: int = 1
    lsn_marker: str = "0/0"
    reserved_timeline: int = 0
    pinned: bool = False
    why: str = ""
    by: str = ""
    at: str = ""

    def __post_init__(self) -> None:
        if (self.candidate is not None) != (self.mode in (Mode.TAKING, Mode.MOVING)):
            raise ValueError(f"grant of {self.cell}: mode {self.mode} with {self.candidate=}")
        if self.primary in self.sync_set:
            raise ValueError(f"grant of {self.cell}: the primary stands in its own sync set")
        if self.mode is Mode.SYNC and not self.sync_set:
            raise ValueError(f"grant of {self.cell}: mode SYNC needs a sync set")
        if self.mode is Mode.ALONE and self.sync_set:
            raise ValueError(f"grant of {self.cell}: mode ALONE has an empty sync set")

    def with_sync_set(self, sync_set: frozenset[CopyId], **changes: str) -> "Grant":
        """Return the settled grant (SYNC or ALONE) of the same primary with another sync set."""
        mode = Mode.SYNC if sync_set else Mode.ALONE
        return replace(self, sync_set=sync_set, mode=mode, candidate=None, **changes)  # type: ignore[arg-type]

    def taking(self, candidate: CopyId, sync_set: frozenset[CopyId], *, pinned: bool = False) -> "Grant":
        """Return the next epoch's grant, which lets `candidate` promote itself.

        It reserves a timeline for that: PostgreSQL alone takes the first number of which its directory
        knows nothing, which may be that of a failed candidate whose history nobody else has.
        """
        timeline = max(self.reserved_timeline, self.timeline) + 1
        return replace(
            self, epoch=self.epoch + 1, mode=Mode.TAKING, candidate=candidate, sync_set=sync_set,
            reserved_timeline=timeline, pinned=pinned,
        )  # fmt: skip

    def to_json(self) -> str:
        """Return the stored form: sorted keys, so equal grants are equal bytes."""
        plain: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self)}
        plain["primary"] = str(self.primary)
        plain["candidate"] = str(self.candidate) if self.candidate else None
        plain["sync_set"] = sorted(str(copy) for copy in self.sync_set)
        return json.dumps(plain, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Grant":
        """Read the stored form; ValueError or TypeError when a field is missing or unknown."""
        plain = json.loads(text)
        plain["primary"] = CopyId.parse(plain["primary"])
        plain["candidate"] = CopyId.parse(plain["candidate"]) if plain["candidate"] else None
        plain["sync_set"] = frozenset(CopyId.parse(copy) for copy in plain["sync_set"])
        plain["mode"] = Mode(plain["mode"])
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class GrantSeen:
    """A grant as one linearizable read returned it; `revision` is what a swap must name."""

    grant: Grant
    revision: int


@snapshot(frozen=True, slots=True)
class Beat:
    """An agent's sign of life, refreshed whatever its cells do.

    `agent` is a random id of the agent process; `count` grows with each beat; `down` lists
    copies that the agent itself knows to be stopped and cannot get running; `full` lists copies whose
    disk is full; `holds` the places at which it finds data, None while it has not looked at all of them
    (or is too old to say). `places` are those that the agent looks after where each copy of a site has an
    agent of its own; None: all of the site's, by one agent.
    """

    site: Site
    agent: str
    count: int
    down: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    holds: frozenset[str] | None = None
    places: frozenset[str] | None = None

    def to_json(self) -> str:
        """Return the stored form."""
        plain = {"site": self.site, "agent": self.agent, "count": self.count}
        said = {"down": sorted(self.down), "full": sorted(self.full)}
        holds = {} if self.holds is None else {"holds": sorted(self.holds)}
        places = {} if self.places is None else {"places": sorted(self.places)}
        return json.dumps(plain | said | holds | places, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Beat":
        """Read the stored form."""
        plain = json.loads(text)
        down, full = frozenset(plain["down"]), frozenset(plain.get("full", ()))
        holds = frozenset(plain["holds"]) if "holds" in plain else None
        places = frozenset(plain["places"]) if "places" in plain else None
        return cls(Site(plain["site"]), plain["agent"], plain["count"], down, full, holds, places)


WAL_SEGMENT_BYTES = 1 << 20
"""Size of a WAL segment of our cells. Source: the least of PostgreSQL's initdb (its default is 16 MiB); a
promotion copies one, an archive seals a begun one anew (decision 085)."""
_PER_LOG = (1 << 32) // WAL_SEGMENT_BYTES
_WAL_NAME = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")


@dataclass(frozen=True, slots=True, order=True)
class WalName:
    """A WAL segment's name: timeline and number."""

    timeline: int
    number: int

    def __str__(self) -> str:
        return f"{self.timeline:08X}{self.number // _PER_LOG:08X}{self.number % _PER_LOG:08X}"

    @property
    def start_lsn(self) -> int:
        """First byte of the segment."""
        return self.number * WAL_SEGMENT_BYTES

    @classmethod
    def parse(cls, text: str) -> "WalName | None":
        """Read a name; None when it is none."""
        found = _WAL_NAME.fullmatch(text)
        if found is None:
            return None
        timeline, log, segment = (int(part, 16) for part in found.groups())
        return cls(timeline, log * _PER_LOG + segment)


def parse_lsn(text: str) -> int:
    """Turn PostgreSQL's `X/Y` into bytes since the start of WAL."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(lsn_bytes: int) -> str:
    """Turn bytes since the start of WAL into PostgreSQL's `X/Y`."""
    return f"{lsn_bytes >> 32:X}/{lsn_bytes & 0xFFFFFFFF:X}"
