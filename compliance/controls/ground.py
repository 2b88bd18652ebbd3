"""What a deployment tells the probes: where its sites, doors, processes and records are (a runbook says)."""

import datetime as dt
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from compliance.access.desk import Desk
from replication.settings import SiteSettings


@dataclass(frozen=True, slots=True)
class Door:
    """A TLS listener. `context` is of a caller it lets in, `words` get an answer out of it.

    `mutual`: it has to refuse whoever shows no certificate.
    """

    name: str
    host: str
    port: int
    context: ssl.SSLContext
    words: bytes
    mutual: bool


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where a process tells its figures."""

    name: str
    url: str
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Trail:
    """What verifying the whole audit trail came to, just now."""

    entries: int
    findings: tuple[str, ...]
    anchored: bool


class Workloads(Protocol):
    """What one site's Kubernetes API server says, of the namespace in which we run."""

    async def list(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind (`Pod`, `Service`); ClusterUnavailable when it does not answer."""


@dataclass(frozen=True, slots=True)
class SiteGround:
    """One data site as its own processes see it; `workloads` only where it is a cluster."""

    settings: SiteSettings
    doors: Sequence[Door]
    metrics: Sequence[Metrics]
    listening: Callable[[], list[tuple[str, int, str]]]
    """Address, port and program of every TCP socket the site's processes listen at, as the system says."""
    allowed_ports: frozenset[int]
    logs: Path
    workloads: Workloads | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """The system under judgement. `drills` holds a folder with verdict.json for each drill.

    `baseline`: the approved configuration; of a cluster, the manifests of each site (`{"idc": […]}`).
    """

    form: Literal["stand", "cluster"]
    sites: Mapping[str, SiteGround]
    desk: Desk
    drills: Path
    baseline: Path
    verify_trail: Callable[[], Awaitable[Trail]]
    approved_baseline_sm3: Callable[[], Awaitable[str | None]]
    read_now: Callable[[], dt.datetime]


Facts = dict[str, Any]
SiteProbe = Callable[[Ground, SiteGround], Awaitable[Facts]]
SystemProbe = Callable[[Ground], Awaitable[Facts]]
