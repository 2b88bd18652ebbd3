"""Description of one stand: cells, copies, ports, where data lie; and what each site is told of it.

Kept in `<home>/stand.json`; `site_settings` turns it into the document that the agent and the API
of a data site read, with every address as seen from that site.
"""

import hashlib
import json
import os
import secrets
import string
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from compliance.protection.ring_file import FILE as RING_FILE
from core_app.funding.settings import ChannelSettings, PayerSettings
from replication.model import DATA_SITES, Site
from replication.settings import BackupSettings, CellSettings, FailoverSettings, PlaceSettings, SiteSettings
from replication.tls import Tls, calling
from runbooks.stand.certificates import tls_dir
from runbooks.stand.ports import BANKS, OUTSIDE, needed_ports, place_names, socket_name

FORMAT = 2
"""Version of stand.json; a stand of another version has to be made afresh."""
LOOPBACK = "127.0.0.1"
_PATH_MOST = 60
"""Longest root of Unix sockets. Source: Linux allows a path of 107 bytes (unix(7)); ours add at most 42."""


class StandError(Exception):
    """The stand cannot do what was asked; the message says what was found, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Stand:
    """One stand. `home` is where its stand.json was found, never stored: a stand may be moved."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    copies: int
    """Copies a cell: 2, or 3 with one beside the home primary, which stands in for a lost sync copy."""
    ports: dict[str, int]
    """Port of every name in `ports.needed_ports`, chosen once."""
    pg_bin: Path
    """Directory of PostgreSQL's programs, looked up at each `up`."""
    pg_major: int
    """Major version that the data directories were made with."""
    control_token: str
    """What a control request to a border has to carry."""
    run_as: str | None = None
    """Unprivileged user for PostgreSQL's programs when we are root."""
    data_root: Path | None = None
    """Where data directories lie when `run_as` cannot reach the home; None: in the home."""
    cells: tuple[CellSettings, ...] = field(default_factory=lambda: make_cells(2))
    keeps_backups: bool = False
    """Whether each site archives its cells' WAL and keeps base backups."""
    failover: FailoverSettings | None = None
    """Limits that differ from the program's own; None: those of the program that runs."""
    valkey_tls_bin: Path | None = None
    """Server of the caches whose build has TLS, found at each `up`; None: the wheel's, at Unix sockets."""
    format: int = FORMAT
    home: Path = Path()

    def __post_init__(self) -> None:
        if self.copies not in (2, 3):
            raise ValueError(f"copies {self.copies}: a cell has 2 or 3")
        if not self.cells or any(cell.home not in DATA_SITES for cell in self.cells):
            raise ValueError("cells: needs at least one, each at home in idc or cloud")
        missing = set(needed_ports(self.homes, self.copies)) - self.ports.keys()
        if missing:
            raise ValueError(f"ports: none for {', '.join(sorted(missing))}")

    @property
    def homes(self) -> dict[str, str]:
        """Return the home site of each cell."""
        return {cell.name: str(cell.home) for cell in self.cells}

    def site_dir(self, site: Site) -> Path:
        """Return the directory of a site: settings, logs, journal, server data."""
        return self.home / site

    def copies_dir(self, site: Site) -> Path:
        """Return the directory in which the site's PostgreSQL data directories stand."""
        return (self.data_root or self.home) / site / "copies"

    def sockets_dir(self, site: Site) -> Path:
        """Return the directory of the site's Unix sockets; PostgreSQL's user owns it."""
        return sockets_root(self.data_root or self.home) / site / "sockets"

    def port(self, site: Site, service: str) -> int:
        """Return the port of `service` at `site` itself; KeyError is a programming error."""
        return self.ports[f"{site}/{service}"]

    @property
    def evidence_dir(self) -> Path:
        """Return where drills leave their evidence."""
        return self.home / "evidence"

    def address(self, name: str) -> int | Path:
        """Return where the holder of a port's name listens: TCP on the loopback, or a Unix socket."""
        owner, _, service = name.partition("/")
        by_tls = service == "valkey" and self.valkey_tls_bin is not None
        socket = None if by_tls else socket_name(service, self.ports[name])
        return self.ports[name] if socket is None else self.sockets_dir(Site(owner)) / socket

    def etcd_url(self, site: Site) -> str:
        """Return the client URL of a site's own etcd member."""
        return f"https://{LOOPBACK}:{self.port(site, 'etcd-client')}"

    def calling(self, holder: str) -> Tls:
        """Return the operator's context for calling processes of a kind, or one of a site."""
        return calling(tls_dir(self.home, Site.IDC), holder)

    def port_from(self, viewer: Site, site: Site, service: str) -> int:
        """Return the port at which `viewer` reaches a service of `site`: its border's, unless own."""
        return self.ports[f"{site}/{service}" if site is viewer else f"{viewer}/to/{site}/{service}"]

    def key_path(self, name: str) -> Path:
        """Return the path of one of the keys: pgpass, valkey, field.key where an older stand has it."""
        return self.home / "keys" / name

    def ring_path(self, site: Site) -> Path:
        """Return the path of a data site's key ring; its root key lies beside it."""
        return self.home / "keys" / site / RING_FILE


_ADAPTER = TypeAdapter(Stand)


def sockets_root(root: Path) -> Path:
    """Return `root`, or a short directory that stands for it: a Unix socket's path may not be long."""
    if len(str(root)) <= _PATH_MOST and "," not in str(root):
        return root
    return Path("/var/tmp") / f"biyi-s-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"  # noqa: S108


def make_cells(count: int) -> tuple[CellSettings, ...]:
    """Return cells a, b, c …, then a1, b1 …, at home in idc and cloud by turns.

    >>> [cell.name for cell in make_cells(28)][-3:]
    ['z', 'a1', 'b1']
    """
    letters = string.ascii_lowercase
    names = (letters[n % 26] + (str(n // 26) if n >= 26 else "") for n in range(count))
    return tuple(CellSettings(name, DATA_SITES[n % 2]) for n, name in enumerate(names))


def new_token() -> str:
    """Return a fresh control token."""
    return secrets.token_hex(16)


def stand_path(home: Path) -> Path:
    """Return the path of the stand's description."""
    return home / "stand.json"


def read_stand(home: Path) -> Stand:
    """Read the stand of `home`; StandError when there is none or it cannot be used."""
    path = stand_path(home)
    try:
        plain = json.loads(path.read_bytes())
        if isinstance(plain, dict) and plain.get("format", FORMAT) != FORMAT:
            raise StandError(
                f"{path}: format {plain['format']}, this program writes {FORMAT}; run `biyi stand up --fresh`"
            )
        return _ADAPTER.validate_python({**plain, "home": home.resolve()})
    except FileNotFoundError as error:
        raise StandError(f"{path}: there is no stand; run `biyi stand up`") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'stand'}: {e['msg']}" for e in error.errors()]
        raise StandError(f"{path}: {'; '.join(lines)}; run `biyi stand up --fresh`") from error
    except (ValueError, TypeError) as error:
        raise StandError(f"{path}: not a JSON object ({error}); run `biyi stand up --fresh`") from error


def write_stand(stand: Stand) -> None:
    """Write stand.json in one piece, readable by its owner only (it holds the control token)."""
    path = stand_path(stand.home)
    plain = _ADAPTER.dump_python(stand, mode="json")
    del plain["home"]
    write_private(path, json.dumps(plain, indent=2))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one piece."""
    aside = path.with_name(path.name + ".tmp")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    aside.replace(path)


def places_seen_from(stand: Stand, viewer: Site) -> tuple[PlaceSettings, ...]:
    """Return all places with their addresses as seen from `viewer`; data_dir only for its own."""
    places = []
    for name in place_names(stand.homes, stand.copies):
        cell, site_name, ordinal = name.split("-")
        site = Site(site_name)
        port = stand.port_from(viewer, site, f"copy:{name}")
        data_dir = stand.copies_dir(viewer) / name if site is viewer else None
        sockets = str(stand.sockets_dir(viewer))
        places.append(PlaceSettings(name, cell, site, int(ordinal), sockets, port, data_dir))
    return tuple(places)


def site_settings(stand: Stand, site: Site) -> SiteSettings:
    """Return what the processes of data site `site` are told."""
    etcd_order = sorted(Site, key=lambda other: other is not site)  # own member first
    return SiteSettings(
        site=site,
        home_dir=stand.site_dir(site),
        etcd_urls=tuple(
            f"https://{LOOPBACK}:{stand.port_from(site, to, 'etcd-client')}" for to in etcd_order
        ),
        cells=stand.cells,
        places=places_seen_from(stand, site),
        agent_urls={to: f"https://{LOOPBACK}:{stand.port_from(site, to, 'agent')}" for to in DATA_SITES},
        agent_port=stand.port(site, "agent"),
        api_port=stand.port(site, "api"),
        valkey_port=stand.port(site, "valkey"),
        pg_bin=stand.pg_bin,
        passfile=stand.key_path("pgpass"),
        key_file=stand.ring_path(site),
        valkey_passfile=stand.key_path("valkey"),
        projector_port=stand.port(site, "projector"),
        notary_port=stand.port(site, "notary"),
        watcher_port=stand.port(site, "watcher"),
        console_port=stand.port(site, "console"),
        audit_key_file=audit_key_path(stand, site),
        run_as=stand.run_as,
        failover=stand.failover or FailoverSettings(),
        backup=BackupSettings(stand.site_dir(site) / "backup", stand.copies_dir(site) / ".staging")
        if stand.keeps_backups
        else None,
        tls_dir=tls_dir(stand.home, site),
        valkey_socket=None if stand.valkey_tls_bin else socket_of(stand, f"{site}/valkey"),
        exposure_query="select commits, moved_fen from core.money_posted_since(%(since)s::text::pg_snapshot)",
    )


def socket_of(stand: Stand, name: str) -> Path:
    """Return the path of a Unix socket by its port's name; ValueError for what listens at TCP."""
    at = stand.address(name)
    if not isinstance(at, Path):
        raise ValueError(f"{name} listens at TCP port {at}")
    return at


def audit_key_path(stand: Stand, site: Site) -> Path:
    """Return the file of a site's signing key: in the site's own directory, the other site never has it."""
    return stand.site_dir(site) / "audit" / "sign.key"


def payer_settings(stand: Stand, site: Site) -> PayerSettings:
    """Return what the payer of data site `site` is told: both banks, the favoured one first."""
    banks = {bank: f"https://{LOOPBACK}:{stand.ports[f'{OUTSIDE}/{bank}']}" for bank in BANKS}
    channels = tuple(ChannelSettings(bank, "bank_transfer", url) for bank, url in banks.items())
    kinds = zip(banks.items(), ("bank_debit", "third_party"), strict=True)
    collecting = tuple(ChannelSettings(bank, kind, url) for (bank, url), kind in kinds)
    return PayerSettings(channels, stand.port(site, "payer"), debit_channels=collecting)


def outside_settings(stand: Stand) -> SiteSettings:
    """Return the addresses of an onlooker who belongs to no site: every server itself, past all borders.

    For whoever judges a run; a site and its links may be gone and the onlooker still sees the rest.
    """
    inside = site_settings(stand, Site.IDC)
    return replace(
        inside,
        etcd_urls=tuple(stand.etcd_url(site) for site in (Site.WITNESS, *DATA_SITES)),
        places=tuple(
            replace(
                place,
                host=str(stand.sockets_dir(place.site)),
                port=stand.port(place.site, f"copy:{place.name}"),
                data_dir=None,
            )
            for place in inside.places
        ),
        agent_urls={to: f"https://{LOOPBACK}:{stand.port(to, 'agent')}" for to in DATA_SITES},
    )
