"""What a site's cluster shall hold, made of what the steward saw in one look. Pure.

Shapes: the Kubernetes API (discovery.k8s.io/v1 EndpointSlice) and infra/workloads/resources.yaml.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from replication.exposure import Exposure
from replication.model import DATA_SITES, Grant, GrantSeen, Mode, Site, other_data_site
from replication.platform.settings import PlatformSettings
from replication.settings import FailoverSettings, PlaceSettings, SiteSettings

Document = dict[str, object]

EPOCH = "biyi.io/epoch"
"""Label, or annotation, with the epoch that an object was written for."""
ROLE = "biyi.io/role"
MANAGER = "biyi-steward"
POSTGRES_PORT_NAME = "postgresql"
SETTLED = (Mode.SYNC, Mode.ALONE)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw: etcd's grants, what agents say of lag, since when each site is silent (ms)."""

    grants: Mapping[str, GrantSeen]
    silent_for_ms: Mapping[Site, int]
    beating: frozenset[Site]
    """Sites whose beat stands in etcd."""
    lag_bytes: Mapping[str, int] = field(default_factory=dict)
    """WAL that a place has not flushed, as its primary's agent says; missing where nobody tells."""
    exposures: Mapping[str, Exposure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of an object; when it last changed is added on writing."""

    type: str
    holds: bool | None
    reason: str
    message: str = ""

    def plain(self) -> Document:
        """Return it as Kubernetes writes conditions."""
        status = "Unknown" if self.holds is None else str(self.holds)
        return {"type": self.type, "status": status, "reason": self.reason, "message": self.message}


def slice_name(cell: str) -> str:
    """Return the name of the Service without a selector, and of its EndpointSlice, of a cell's primary.

    >>> slice_name("a")
    'cell-a-primary'
    """
    return f"cell-{cell}-primary"


def make_slice(grant: Grant, platform: PlatformSettings, port: int) -> Document:
    """Return the EndpointSlice of a cell's primary: one address, ready only while its grant is settled.

    While a candidate is taking over nobody may write, so nobody is ready; the old primary's address stays, so
    that what connects meets a fence and not another copy.
    """
    primary = grant.primary
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(grant.cell),
            "namespace": platform.namespace,
            "labels": {
                "kubernetes.io/service-name": slice_name(grant.cell),
                "endpointslice.kubernetes.io/managed-by": MANAGER,
                "biyi.io/cell": grant.cell,
            },
            "annotations": {EPOCH: str(grant.epoch)},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [platform.addresses[primary.place]],
                "conditions": {"ready": grant.mode in SETTLED},
                "hostname": primary.place,
            }
        ],
        "ports": [{"name": POSTGRES_PORT_NAME, "port": port, "protocol": "TCP"}],
    }


def pod_name(place: str) -> str:
    """Return the name of a copy's pod: the first of its StatefulSet of one.

    >>> pod_name("a-idc-0")
    'a-idc-0-0'
    """
    return f"{place}-0"


def plan_labels(place: PlaceSettings, grant: Grant) -> dict[str, str]:
    """Return the labels of a copy's pod: the role that its place has in the grant, and the grant's epoch."""
    if grant.primary.place == place.name:
        role = "primary" if grant.mode in SETTLED else "leaving"
    elif grant.candidate is not None and grant.candidate.place == place.name:
        role = "candidate"
    elif any(copy.place == place.name for copy in grant.sync_set):
        role = "sync"
    else:
        role = "follower"
    return {ROLE: role, EPOCH: str(grant.epoch)}


def make_cell(cell: str, home: Site, look: Look) -> Document:
    """Return the object `Cell`; without a grant it has no figures and is not writable."""
    seen = look.grants.get(cell)
    status: Document = {"conditions": [one.plain() for one in _cell_conditions(home, seen)]}
    if seen is not None:
        grant = seen.grant
        sync = sorted(copy.place for copy in grant.sync_set)
        status |= {
            "epoch": grant.epoch,
            "primary": grant.primary.place,
            "site": str(grant.primary.site),
            "mode": str(grant.mode),
            "syncCopies": sync,
            "why": grant.why,
        }
        lags = [look.lag_bytes[place] for place in sync if place in look.lag_bytes]
        # No figure where none is known: a 0 would say that nothing lags.
        if lags:
            status["lagBytes"] = max(lags)
        exposure = look.exposures.get(cell)
        if exposure is not None and exposure.exposed_bytes is not None:
            status["exposedBytes"] = exposure.exposed_bytes
    return {"kind": "Cell", "metadata": {"name": cell}, "spec": {"home": str(home)}, "status": status}


def _cell_conditions(home: Site, seen: GrantSeen | None) -> Iterator[Condition]:
    if seen is None:
        yield Condition("Writable", False, "NoGrant", "nobody was ever allowed to write this cell")
        return
    grant, mode = seen.grant, seen.grant.mode
    reasons = {Mode.SYNC: "Granted", Mode.ALONE: "Granted", Mode.TAKING: "TakingOver", Mode.MOVING: "Moving"}
    at = f"epoch {grant.epoch}, {grant.primary.place}"
    yield Condition("Writable", mode in SETTLED, reasons[mode], at)
    if mode is Mode.ALONE:
        yield Condition("Protected", False, "Alone", "no second copy has everything: take nothing down")
    else:
        yield Condition("Protected", True, "SyncCopies", f"{len(grant.sync_set)} beside the primary")
    at_home = grant.primary.site is home
    yield Condition("AtHome", at_home, "AtHome" if at_home else "Pinned" if grant.pinned else "Away")


def is_lost(site: Site, look: Look, limits: FailoverSettings) -> bool:
    """Say whether a site has said nothing for as long as a takeover needs, over reads that succeeded."""
    return look.silent_for_ms.get(site, 0) >= limits.degrade_after_ms


def is_back(site: Site, homes: Mapping[str, Site], look: Look, limits: FailoverSettings) -> bool:
    """Say whether a site beats and each cell at home there writes there again, with a sync copy."""
    beats = site in look.beating and look.silent_for_ms.get(site, 0) < limits.silence_ms
    at_home = (look.grants.get(cell) for cell, home in homes.items() if home is site)
    return beats and all(
        seen is not None and seen.grant.primary.site is site and seen.grant.mode is Mode.SYNC
        for seen in at_home
    )


def plan_replicas(settings: SiteSettings, platform: PlatformSettings, look: Look, now: int) -> int:
    """Return the lower bound of API pods: raised when the other site is lost, lowered after fail-back.

    Between the two (the other site beats, its cells are still here) it stays as it is, `now`.
    """
    other = other_data_site(settings.site)
    if is_lost(other, look, settings.failover):
        return max(now, platform.api_replicas_burst)
    homes = {cell.name: cell.home for cell in settings.cells}
    if now > platform.api_replicas_min and not is_back(other, homes, look, settings.failover):
        return now
    return platform.api_replicas_min


def make_site(
    site: Site, settings: SiteSettings, platform: PlatformSettings, look: Look, replicas: int | None
) -> Document:
    """Return the object `Site` as this cluster's steward sees that site; `replicas` None: not known."""
    grants = [seen.grant for seen in look.grants.values()]
    primaries = sum(grant.primary.site is site for grant in grants)
    followers = sum(copy.site is site for grant in grants for copy in grant.sync_set)
    lost = is_lost(site, look, settings.failover)
    silent = look.silent_for_ms.get(site, 0) >= settings.failover.silence_ms
    reason = "Lost" if lost else "Silent" if silent else "Beats"
    conditions = [Condition("Alive", not lost, reason)]
    status: Document = {"primaries": primaries, "copies": primaries + followers}
    if site is settings.site:
        burst = None if replicas is None else replicas > platform.api_replicas_min
        why = {True: "OtherSiteLost", False: "BothSitesServe", None: "AutoscalerNotRead"}[burst]
        conditions.append(Condition("Burst", burst, why))
        if replicas is not None:
            status["apiReplicasMin"] = replicas
    status["conditions"] = [one.plain() for one in conditions]
    return {"kind": "Site", "metadata": {"name": str(site)}, "spec": {}, "status": status}


def make_sites(
    settings: SiteSettings, platform: PlatformSettings, look: Look, replicas: int | None
) -> list[Document]:
    """Return both sites' objects."""
    return [make_site(site, settings, platform, look, replicas) for site in DATA_SITES]
