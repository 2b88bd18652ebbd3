"""What the platform page says, from the agents' last answers. Pure.

The one rule: a figure is shown only while the agent that told it is seen. A site that does not answer has
no figures, only since when; what nobody who is seen knows is `None` here and "not known" on the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from replication.model import DATA_SITES, Site
from replication.settings import SiteSettings
from runbooks.cell_facts import compute_cell_rows

FRESH_SECONDS: Final = 3.0
"""An answer to an older question is not shown any more. Source: our choice, two looks and their patience."""


@dataclass(frozen=True, slots=True)
class SiteLook:
    """The last answer of a site's agent: None while it never answered. Instants are aware UTC.

    `age_seconds` since the answer on a monotonic clock, `took_ms` from asking to the answer.
    """

    status: Mapping[str, Any] | None = None
    at: datetime | None = None
    age_seconds: float = 0.0
    took_ms: int = 0

    @property
    def is_fresh(self) -> bool:
        """Say whether what it tells may be shown."""
        return self.status is not None and self.age_seconds <= FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class SiteView:
    """A data site. `since`: the last answer, or the console's start; `cells`: those it writes."""

    site: str
    state: str
    since: datetime
    took_ms: int | None
    reads_etcd: bool | None
    cells: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class LinkView:
    """A direction between two sites, as who stands at its beginning sees it."""

    source: str
    target: str
    state: str


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell; `row` is that of `cell_facts`, None when nobody who is seen knows the grant."""

    cell: str
    home: str
    row: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class PlaceView:
    """A copy: what it is, what its agent decided last and why; `since` when its site is not seen."""

    place: str
    cell: str
    site: str
    state: str
    role: str
    step: str | None = None
    why: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is not as it should be: a key of `words` and what fills it."""

    key: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Platform:
    """One page's worth of truth, as of `now`."""

    now: datetime
    sites: tuple[SiteView, ...]
    witness: str
    links: tuple[LinkView, ...]
    cells: tuple[CellView, ...]
    places: tuple[PlaceView, ...]
    alarms: tuple[Alarm, ...]


def make_platform(
    settings: SiteSettings, looks: Mapping[Site, SiteLook], now: datetime, began_at: datetime
) -> Platform:
    """Return the page's contents. `looks` has both data sites; `began_at` is the console's own start."""
    fresh = {site: look.status for site, look in looks.items() if look.is_fresh and look.status is not None}
    rows = {row["cell"]: row for row in compute_cell_rows(fresh, now)}
    cells = tuple(CellView(c.name, str(c.home), rows.get(c.name)) for c in settings.cells)
    sites = tuple(_view_site(site, looks[site], cells, began_at) for site in DATA_SITES)
    places = tuple(
        _view_place(place.name, place.cell, place.site, looks, rows)
        for place in sorted(settings.places, key=lambda place: place.name)
    )
    witness = _view_witness(fresh)
    return Platform(
        now=now,
        sites=sites,
        witness=witness,
        links=tuple(_view_links(settings.site, fresh)),
        cells=cells,
        places=tuple(
            place if place.state != "not_seen" else _since(place, looks[Site(place.site)], began_at)
            for place in places
        ),
        alarms=tuple(find_alarms(sites, fresh, cells)),
    )


def find_alarms(
    sites: Sequence[SiteView], fresh: Mapping[Site, Mapping[str, Any]], cells: Sequence[CellView]
) -> list[Alarm]:
    """Return what is not as it should be, sites first."""
    found = [Alarm("alarm.site_not_seen", {"site": site.site}) for site in sites if site.state != "seen"]
    found += [Alarm("alarm.no_etcd", {"site": site.site}) for site in sites if site.reads_etcd is False]
    silent = sorted({member for status in fresh.values() for member in status["etcd_members_silent"]})
    found += [Alarm("alarm.member_silent", {"site": member}) for member in silent]
    for cell in cells:
        found += _alarms_of(cell)
    full = sorted(
        name
        for status in fresh.values()
        for name, facts in status["places"].items()
        if ((facts["seen"] or {}).get("own") or {}).get("disk_full")
    )
    return found + [Alarm("alarm.disk_full", {"place": place}) for place in full]


def _alarms_of(cell: CellView) -> list[Alarm]:
    if cell.row is None:
        return [Alarm("alarm.cell_unknown", {"cell": cell.cell})]
    found = []
    site = cell.row["primary"].split("-")[1]
    if cell.row["mode"] == "ALONE":
        found.append(Alarm("alarm.cell_alone", {"cell": cell.cell, "site": site}))
    if cell.row["open"] is False:
        found.append(Alarm("alarm.cell_shut", {"cell": cell.cell, "mode": cell.row["mode"]}))
    return found


def _view_site(site: Site, look: SiteLook, cells: Sequence[CellView], began_at: datetime) -> SiteView:
    if look.is_fresh and look.status is not None and look.at is not None:
        own = tuple(c.cell for c in cells if c.row is not None and c.row["primary"].split("-")[1] == site)
        return SiteView(str(site), "seen", look.at, look.took_ms, bool(look.status["etcd_answers"]), own)
    if look.at is None:
        return SiteView(str(site), "never_seen", began_at, None, None, None)
    return SiteView(str(site), "not_seen", look.at, None, None, None)


def _view_witness(fresh: Mapping[Site, Mapping[str, Any]]) -> str:
    """Say what the agents know of the witness: they look at its etcd member every few seconds."""
    if not fresh:
        return "unknown"
    heard = [str(Site.WITNESS) not in status["etcd_members_silent"] for status in fresh.values()]
    return "answers" if any(heard) else "silent"


def _view_links(own: Site, fresh: Mapping[Site, Mapping[str, Any]]) -> list[LinkView]:
    links = []
    for source in DATA_SITES:
        for target in Site:
            if target is not source:
                links.append(LinkView(str(source), str(target), _view_link(own, fresh, source, target)))
    return links


def _view_link(own: Site, fresh: Mapping[Site, Mapping[str, Any]], source: Site, target: Site) -> str:
    status = fresh.get(source)
    if status is None:
        return "unknown"
    # The console asks the other agent across the same border: it knows that sooner than the members' list.
    if source is own and target in DATA_SITES and target not in fresh:
        return "silent"
    return "silent" if str(target) in status["etcd_members_silent"] else "answers"


def _view_place(
    name: str,
    cell: str,
    site: Site,
    looks: Mapping[Site, SiteLook],
    rows: Mapping[str, Mapping[str, Any]],
) -> PlaceView:
    row = rows.get(cell)
    look = looks[site]
    if not look.is_fresh or look.status is None:
        return PlaceView(name, cell, str(site), "not_seen", _role(name, row))
    facts = look.status["places"].get(name) or {}
    seen, decision = facts.get("seen"), facts.get("decision")
    if not seen or not decision:
        return PlaceView(name, cell, str(site), "not_decided", _role(name, row))
    return PlaceView(
        name, cell, str(site), seen["own"]["state"], _role(name, row), decision["step"], decision["why"]
    )


def _role(place: str, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "unknown"
    if row["primary"] == place:
        return "primary"
    return "sync" if place in row["sync_set"] else "behind"


def _since(place: PlaceView, look: SiteLook, began_at: datetime) -> PlaceView:
    return PlaceView(place.place, place.cell, place.site, place.state, place.role, since=look.at or began_at)
