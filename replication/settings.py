"""What one site's processes are told at start: places, addresses, limits. Unknown keys are refused.

Addresses are as seen *from this site*: own servers directly, those of other sites through this
site's border relay. Whoever deploys (the stand, the Kubernetes manifests) writes this document.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from replication.model import Degrade, Site, WithoutEtcd

T = TypeVar("T")

_STRICT = ConfigDict(extra="forbid")


class SettingsError(Exception):
    """A settings file cannot be used; the message names the file, the field and what is needed."""


@dataclass(frozen=True, slots=True)
class FailoverSettings:
    """Limits of the failover loop. Milliseconds on a monotonic clock unless the name says else."""

    __pydantic_config__ = _STRICT

    tick_ms: int = 100
    """Longest pause between two looks at the world. Source: our choice; a tenth of `silence_ms`."""
    beat_ms: int = 250
    """Pause between two beats of a site. Source: design/failover.md (about 250 ms)."""
    silence_ms: int = 1000
    """Beat unchanged over successful reads for this long: the site is suspect. Source: our choice,
    four beats; a false suspicion also needs a dead WAL stream or probe, and costs no data."""
    probe_timeout_ms: int = 300
    """Patience with the suspect's agent. Source: our choice, 6 x the 50 ms RTT ceiling of a city pair."""
    degrade_after_ms: int = 2500
    """Sync copy silent this long while the grant is confirmed: go ALONE. Source: our choice; above
    the copy's 1 s status interval, under OceanBase's 3 s minimum."""
    fence_after_ms: int = 4000
    """Grant unconfirmed this long since the last confirming request was sent: stop hard.
    Source: our choice, above an etcd election; liveness only, no safety argument rests on it."""
    peer_promise_ms: int = 3000
    """For how long a peer agent without etcd promises to take nothing over, where a cell's policy asks
    for that. Source: our choice; above two looks at an etcd whose members all hang (3 x 0.4 s each)."""
    watchdog_after_ms: int = 6000
    """No beat of the agent for this long (it stands still, or should have ended its primaries and has not):
    the watchdog ends them. Source: our choice, above `fence_after_ms`, at which a living agent does it."""
    watchdog_look_ms: int = 250
    """Pause between two looks of the watchdog. Source: our choice, a small part of `watchdog_after_ms`."""
    site_lease_seconds: int = 3
    """Time to live of a site's beat key. Source: etcd minimum 2 s at a 1 s election timeout."""
    home_after_ms: int = 8000
    """Home copy in the sync set this long before a cell goes home by itself. Source: our choice."""
    drain_ms: int = 1000
    """Patience with running transactions in a planned move. Source: our choice, the pause limit."""
    restart_patience_ms: int = 8000
    """A primary that its own agent cannot restart for this long is declared down. Source: our
    choice; crash recovery of a small cell takes under 2 s."""
    write_probe_ms: int = 500
    """A primary whose WAL stood still this long is asked to flush a record, and as often whether it lets
    a client in. Source: our choice; 50 bytes and one fork, nothing while clients commit."""
    disk_stall_after_ms: int = 3000
    """A primary that owes the probe an answer this long cannot serve: its sync copy takes over. Source:
    our choice; far above the worst fsync of a healthy disk."""
    disk_full_bytes: int = 64 * 1024 * 1024
    """A disk with less left is full, until it has twice as much. Source: our choice, four WAL segments: a
    shutdown checkpoint and a promotion still fit."""
    stuck_after_ms: int = 4000
    """A copy that cannot stream from a reachable primary for this long is rewound or re-cloned.
    Source: our choice; twice wal_receiver_timeout."""

    @property
    def force_after_ms(self) -> int:
        """A site silent this long has had its primaries ended, whatever became of its agent.

        The worst: cut off right after a beat, and frozen just before it would have ended them itself.
        """
        return self.beat_ms + self.fence_after_ms + self.watchdog_after_ms + self.watchdog_look_ms

    def __post_init__(self) -> None:
        if not self.tick_ms < self.silence_ms:
            raise ValueError("tick_ms must be under silence_ms")
        if not 2 * self.beat_ms <= self.silence_ms:
            raise ValueError("silence_ms must span at least two beats (2 x beat_ms)")
        if not self.silence_ms < self.degrade_after_ms < self.fence_after_ms:
            raise ValueError("needs silence_ms < degrade_after_ms < fence_after_ms")
        if not self.silence_ms < self.peer_promise_ms <= self.fence_after_ms:
            raise ValueError("needs silence_ms < peer_promise_ms <= fence_after_ms")
        if not self.fence_after_ms < self.watchdog_after_ms:
            raise ValueError("watchdog_after_ms must be above fence_after_ms")
        if not 2 * self.write_probe_ms <= self.disk_stall_after_ms:
            raise ValueError("disk_stall_after_ms must span at least two probes (2 x write_probe_ms)")
        if self.disk_full_bytes < 0:
            raise ValueError("disk_full_bytes must not be negative")
        if not self.probe_timeout_ms < self.silence_ms:
            raise ValueError("probe_timeout_ms must be under silence_ms")


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Where a site keeps its backups and how often it takes them. Seconds unless the name says else."""

    __pydantic_config__ = _STRICT

    directory: Path
    """Sealed backups and WAL of every cell; PostgreSQL's user needs no access."""
    staging: Path
    """Where a backup is unpacked in clear to be verified; PostgreSQL's user must reach it."""
    first_after: int = 60
    """Pause before a site looks for the first time what is due, twice that for a cell it writes itself.
    Source: our choice; a stand that is just coming up is left alone, and its sites do not copy at once."""
    full_every: int = 86_400
    """Pause between full backups. Source: our choice; a day of incremental ones combines in minutes."""
    incremental_every: int = 3_600
    """Pause between incremental backups. Source: our choice; bounds the WAL that a restore replays."""
    keep_full: int = 2
    """Full backups kept, with all that belongs to them. Source: our choice; one may be found bad."""
    lag_limit: float = 5.0
    """Archive lag that is still good. Source: our choice; commits of five seconds, lost with all copies."""

    def __post_init__(self) -> None:
        if self.keep_full < 1:
            raise ValueError("keep_full must be at least 1")
        if not 0 < self.incremental_every <= self.full_every:
            raise ValueError("needs 0 < incremental_every <= full_every")


@dataclass(frozen=True, slots=True)
class CellSettings:
    """One cell: the site its primary belongs to when all is well, and what it does in doubt.

    The policies are read when an agent starts; give both sites' agents the same.
    """

    __pydantic_config__ = _STRICT

    name: str
    home: Site
    degrade: Degrade = "after"
    """`after`: a sync copy that is silent for `degrade_after_ms` is left, the cell writes ALONE if need
    be. `block`: the cell neither opens nor acknowledges without a sync copy; after the loss of a site
    it then stays shut until a second copy has joined."""
    degrade_after_ms: int | None = None
    """None: the site's own limit."""
    without_etcd: WithoutEtcd = "stop"
    """`stop`: a primary that cannot confirm its grant stops at `fence_after_ms`. `peer`: not while its
    sync copies acknowledge and the other site's agent, itself without etcd, promises to wait."""


@dataclass(frozen=True, slots=True)
class PlaceSettings:
    """Where a copy stands: `name` is `<cell>-<site>-<ordinal>`, host and port as seen from here.

    A `host` that begins with a slash is the directory of a Unix socket, as libpq reads it. `tls_dir` is
    the process's directory of certificates (`replication.transport`) where the copy is reached by TLS.
    `data_dir` is set only in the settings of the place's own site, and there only for the agent that looks
    after the copy. `agent_url` is that agent's base URL where each copy of the site has an agent of its
    own; None: the site's one agent (`agent_urls`). A primary prefers a sync copy at the
    other site, the lowest ordinal first; one beside it only stands in (`failover.sync_set`).
    """

    __pydantic_config__ = _STRICT

    name: str
    cell: str
    site: Site
    ordinal: int
    host: str
    port: int
    data_dir: Path | None = None
    tls_dir: Path | None = None
    agent_url: str | None = None

    @property
    def socket_path(self) -> str | None:
        """Return where the copy's Unix socket is; None: it listens at TCP."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else None


@dataclass(frozen=True, slots=True)
class TlsAddress:
    """A TCP address spoken to by mutual TLS only, with the certificate of `holder` in `tls_dir`."""

    host: str
    port: int
    tls_dir: Path
    holder: str


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """Everything the processes of one data site need to know."""

    __pydantic_config__ = _STRICT

    site: Site
    home_dir: Path
    """Directory of this site: journal/, logs/ and process state lie in it."""
    etcd_urls: tuple[str, ...]
    """Client URLs of every etcd member, this site's own first."""
    cells: tuple[CellSettings, ...]
    places: tuple[PlaceSettings, ...]
    agent_urls: dict[Site, str]
    """Base URL of each data site's agent, e.g. https://127.0.0.1:17000."""
    agent_port: int
    api_port: int
    valkey_port: int
    pg_bin: Path
    """Directory with postgres, pg_ctl, pg_rewind …"""
    passfile: Path
    """libpq password file with a line for each role (see `replication.postgres.copy`)."""
    key_file: Path
    """Root key of field protection."""
    valkey_passfile: Path | None = None
    """File with the password of the site's Valkey; None: the site has no warm cache."""
    projector_port: int | None = None
    """Where the projector answers; None: the site has none."""
    notary_port: int | None = None
    """Where the notary answers; None: the site has none."""
    watcher_port: int | None = None
    """Where the watcher of staff behaviour answers; None: the site has none."""
    console_port: int | None = None
    """Where the web console answers; None: the site has none."""
    audit_key_file: Path | None = None
    """The site's own SM2 key, with which its notary signs; None: the site signs nothing."""
    run_as: str | None = None
    """Unprivileged user for PostgreSQL's programs when we are root, else None."""
    failover: FailoverSettings = field(default_factory=FailoverSettings)
    backup: BackupSettings | None = None
    """None: this site keeps no backups."""
    listen_host: str = "127.0.0.1"
    """Address at which the site's processes listen: all addresses in a pod of its own."""
    tls_dir: Path | None = None
    """Certificates of this site's processes (`replication.tls`); None: its servers speak plain."""
    valkey_socket: Path | None = None
    """Unix socket of the site's Valkey; None: it listens at `valkey_host`."""
    valkey_host: str = "127.0.0.1"
    health_port: int | None = None
    """Where a process says by TLS, asking for no certificate, whether it lives (`replication.health`): for
    a prober that has none, in a pod of its own. None: only identities are told."""
    exposure_query: str | None = None
    """SQL, run as biyi_read on a primary: `commits` and `moved_fen` (both bigint) of what became visible
    after the `pg_snapshot` in %(since)s. None: commits and money at risk are shown as unknown."""

    def __post_init__(self) -> None:
        limits = self.failover
        for cell in self.cells:
            own_ms = cell.degrade_after_ms
            if own_ms is not None and not limits.silence_ms < own_ms < limits.fence_after_ms:
                raise ValueError(
                    f"cells.{cell.name}.degrade_after_ms is {own_ms}: needs silence_ms ({limits.silence_ms}) "
                    f"< degrade_after_ms < fence_after_ms ({limits.fence_after_ms})"
                )

    def cell(self, name: str) -> CellSettings:
        """Return the cell called `name`; KeyError when there is none."""
        return next(c for c in self.cells if c.name == name)

    def place(self, name: str) -> PlaceSettings:
        """Return the place called `name`; StopIteration is a programming error."""
        return next(p for p in self.places if p.name == name)

    def valkey_address(self, holder: str) -> Path | int | TlsAddress:
        """Return where `holder`, the kind of process that asks, finds the site's Valkey.

        Its Unix socket; else by TLS, wherever it is; a plain port of this machine only for servers that
        stand alone, without any certificates. ValueError when it is elsewhere and there are none.
        """
        if self.valkey_socket is not None:
            return self.valkey_socket
        if self.tls_dir is not None:
            return TlsAddress(self.valkey_host, self.valkey_port, self.tls_dir, holder)
        if self.valkey_host != "127.0.0.1":
            raise ValueError(f"valkey_host is {self.valkey_host} and tls_dir is not set: needs certificates")
        return self.valkey_port

    def own_places(self) -> tuple[PlaceSettings, ...]:
        """Return the places of this site, whichever agent looks after them."""
        return tuple(p for p in self.places if p.site is self.site)

    def agent_places(self) -> tuple[PlaceSettings, ...]:
        """Return the places that the agent with these settings looks after: those with a directory here."""
        return tuple(p for p in self.own_places() if p.data_dir is not None)

    def beats_by_copy(self) -> bool:
        """Say whether the agent with these settings is not the site's only one."""
        return any(p.agent_url is not None for p in self.agent_places())

    def agent_of(self, place: PlaceSettings) -> str | None:
        """Return the base URL of the agent that looks after a place; None: no address is known."""
        return place.agent_url or self.agent_urls.get(place.site)

    def require_agent(self) -> None:
        """SettingsError unless an agent may run with these settings.

        One that shares its site's copies with others must be known to: a beat for all of them, and an answer
        in place of another, would keep a dead copy in office.
        """
        own = self.agent_places()
        if not own:
            raise SettingsError(f"places: none of {self.site} has a data_dir: this agent looks after nothing")
        shares = len(own) < len(self.own_places()) or self.beats_by_copy()
        unsaid = [p.name for p in self.own_places() if p.agent_url is None]
        if shares and unsaid:
            raise SettingsError(
                f"places.{unsaid[0]}.agent_url: missing; needed for each place of {self.site}, as this agent "
                f"looks after {len(own)} of {len(self.own_places())}"
            )


_ADAPTER = TypeAdapter(SiteSettings)


def read_site_settings(path: Path) -> SiteSettings:
    """Read and check `site.json`; SettingsError names the file and every bad field."""
    return read_settings(path, _ADAPTER)


def write_site_settings(path: Path, settings: SiteSettings) -> None:
    """Write `site.json` in one piece (write aside, then rename)."""
    write_settings(path, _ADAPTER, settings)


def read_settings(path: Path, adapter: TypeAdapter[T]) -> T:
    """Read and check a settings file of the stand; SettingsError names the file and every bad field."""
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; `biyi stand up` writes it") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError(f"{path}: " + "; ".join(lines)) from error


def write_settings(path: Path, adapter: TypeAdapter[T], settings: T) -> None:
    """Write a settings file in one piece (write aside, then rename)."""
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(adapter.dump_python(settings, mode="json"), indent=2))
    aside.replace(path)
