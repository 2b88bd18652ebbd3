"""A small house that every probe without a database finds good: files, listeners, an archive, packages."""

import asyncio
import base64
import contextlib
import dataclasses
import datetime as dt
import hashlib
import importlib.metadata
import ipaddress
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compliance.access.desk import Desk
from compliance.audit.digest import compute_sm3
from compliance.controls.ground import Door, Ground, Metrics, SiteGround, Trail
from compliance.controls.probes.host import take_baseline
from compliance.controls.readings import canonical
from compliance.protection import ring as rings
from compliance.protection.key_file import ensure_key_file
from compliance.protection.ring_file import make_ring
from replication.backup.archive import Archive, Progress, Stored
from replication.backup.health import write_restore
from replication.backup.plan import Backup, Kind
from replication.backup.sealed import open_backup_key
from replication.model import WAL_SEGMENT_BYTES, Site, WalName
from replication.settings import BackupSettings, CellSettings, SiteSettings

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
NEEDS_DATABASE = {
    "transport", "passwords", "rights", "audit-coverage", "audit-chain", "audit-retention", "integrity",
    "sealed", "replication", "lockout", "second-factor", "accounts", "separation",
}  # fmt: skip
"""Forged in tests/integration/core_app, with the sources they read."""
PACKAGE_FILES = 1000
"""As many as the check asks for at least. Source: compliance/controls/checks.csv, software."""
_WORDS = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_TOLD = b"# TYPE biyi_up gauge\nbiyi_up 1\n"


@dataclasses.dataclass
class House:
    """What a test may change before it asks; `ground` is what the probes are shown."""

    folder: Path
    doors: list[Door]
    metrics: list[Metrics]
    listening: list[tuple[str, int, str]]
    settings: dict[str, SiteSettings]
    approved_sm3: str | None = None

    def ground(self) -> Ground:
        """Return both sites; both look at the same doors."""
        sites = {
            name: SiteGround(
                settings, self.doors, self.metrics, lambda: self.listening, frozenset({1001}),
                self.folder / "logs",
            )
            for name, settings in self.settings.items()
        }  # fmt: skip

        async def approved() -> str | None:
            return self.approved_sm3

        async def no_trail() -> Trail:
            raise TimeoutError("no trail here")

        return Ground(
            "stand", sites, cast(Desk, None), self.folder / "evidence", self.folder / "baseline.json",
            no_trail, approved, lambda: NOW,
        )  # fmt: skip

    @property
    def ring(self) -> Path:
        """The key ring of the data centre."""
        return self.folder / "idc" / "ring.json"

    def archive(self) -> Archive:
        """Return the data centre's archive of cell a."""
        return archive_of(self.settings["idc"])

    @property
    def verdict(self) -> Path:
        """The verdict of the last drill of losing a site."""
        return next((self.folder / "evidence").glob("*-site-loss-*")) / "verdict.json"

    @property
    def package(self) -> Path:
        """The folder of the installed package."""
        return self.folder / "packages" / "shipped"


def build_house(folder: Path) -> None:
    """Make all files of a good house, of which each test then gets its own copy."""
    make_certificate(folder / "door.pem", NOW + dt.timedelta(365))
    for site in (Site.IDC, Site.CLOUD):
        make_site(folder, site)
        fill_archive(site_settings(folder, site))
    install_package(folder / "packages")
    make_drill(folder / "evidence")


@contextlib.asynccontextmanager
async def open_house(folder: Path, monkeypatch: Any) -> AsyncIterator[House]:
    """Yield the house whose files lie there; its two doors listen until the end."""
    own, mutual = folder / "door.pem", server_context(folder)
    mutual.verify_mode = ssl.CERT_REQUIRED
    mutual.load_verify_locations(own)
    found = importlib.metadata.distributions
    packages = [str(folder / "packages")]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found(path=packages))
    async with contextlib.AsyncExitStack() as stack:
        ports = [
            await stack.enter_async_context(listen(context)) for context in (server_context(folder), mutual)
        ]
        context = caller_context(own)
        house = House(
            folder,
            [Door(f"idc/{port}", "127.0.0.1", port, context, _WORDS, port == ports[1]) for port in ports],
            [Metrics("idc/api", f"https://127.0.0.1:{ports[0]}/metrics", context)],
            [("127.0.0.1", 1001, "postgres")],
            {str(site): site_settings(folder, site) for site in (Site.IDC, Site.CLOUD)},
        )
        baseline = canonical(await take_baseline(house.ground()))
        house.ground().baseline.write_bytes(baseline)
        house.approved_sm3 = compute_sm3(baseline).hex()
        yield house


def make_site(folder: Path, site: Site) -> None:
    """Make the files of a site: ring, password file."""
    home = folder / str(site)
    home.mkdir(mode=0o700)
    ensure_key_file(home / "root.key")
    ring = rings.plant_rings([str(site)], os.urandom)[str(site)]
    make_ring(home / "ring.json", ring, {"kind": "file", "file": "root.key"})
    (home / "pgpass").touch(mode=0o600)


def site_settings(folder: Path, site: Site) -> SiteSettings:
    """Return the settings of a site below the house's folder."""
    home = folder / str(site)
    return SiteSettings(
        site=site, home_dir=home, etcd_urls=(), cells=(CellSettings("a", Site.IDC),), places=(),
        agent_urls={}, agent_port=1, api_port=1, valkey_port=1, pg_bin=folder, passfile=home / "pgpass",
        key_file=home / "ring.json", backup=BackupSettings(home / "backup", home / "staging"),
    )  # fmt: skip


def keep_cache(sockets_mode: int | None) -> Callable[[House, Any, Any], None]:
    """Give the data centre a cache at a socket in a directory of that mode, 0: nowhere; None: in clear."""

    def keep(house: House, _: Any, __: Any) -> None:
        at = None if sockets_mode is None else house.folder / "sockets" / "valkey.1"
        if at is not None and sockets_mode:
            at.parent.mkdir()
            at.touch(0o600)
            at.parent.chmod(sockets_mode)
        changed = dataclasses.replace(house.settings["idc"], valkey_passfile=house.folder, valkey_socket=at)
        house.settings["idc"] = changed

    return keep


def archive_of(settings: SiteSettings) -> Archive:
    """Return the archive of cell a at a site."""
    assert settings.backup is not None
    return Archive(settings.backup.directory, "a", "7", open_backup_key(settings.key_file))


def fill_archive(settings: SiteSettings) -> None:
    """Write an archive with a full backup of an hour ago, verified by a restore of yesterday."""
    archive = archive_of(settings)
    archive.make()
    name = WalName(1, 3)
    archive.write_sealed(archive.wal / str(name), str(name), bytes(16))
    add_full(archive, dt.timedelta(hours=1))
    archived = 3 * WAL_SEGMENT_BYTES + 1000
    archive.write_progress(Progress(1, archived, archived, NOW - dt.timedelta(seconds=1), NOW))
    write_restore(archive, {"at": (NOW - dt.timedelta(1)).isoformat(), "good": True})


def add_full(archive: Archive, ago: dt.timedelta) -> None:
    """Write the note of a full backup that ended so long ago."""
    ended, start = NOW - ago, 3 * WAL_SEGMENT_BYTES
    label = f"{ended:%Y%m%dT%H%M%SZ}-full"
    backup = Backup(label, Kind.FULL, None, ended, ended, 1, start, start + 100)
    (archive.bases / label).mkdir(mode=0o700)
    archive.write_stored(archive.bases / label, Stored(backup, {}, {}, 0, ended, 1.0))


def make_drill(folder: Path) -> None:
    """Keep the verdict of a drill of yesterday."""
    at = NOW - dt.timedelta(1)
    made = folder / f"{at:%Y%m%dT%H%M%SZ}-site-loss-idc"
    made.mkdir(parents=True)
    (made / "verdict.json").write_text(json.dumps({"verdict": "holds"}), encoding="utf-8")
    os.utime(made / "verdict.json", (at.timestamp(), at.timestamp()))


def install_package(folder: Path) -> None:
    """Install one package with its publisher's hashes."""
    (folder / "shipped").mkdir(parents=True)
    record = []
    for number in range(PACKAGE_FILES):
        content = f"{number}\n".encode()
        (folder / "shipped" / f"{number}.txt").write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"shipped/{number}.txt,sha256={digest},{len(content)}\n")
    notes = folder / "shipped-1.0.dist-info"
    notes.mkdir()
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
    (notes / "RECORD").write_text("".join(record))


def make_certificate(path: Path, ends: dt.datetime) -> Path:
    """Write a certificate of its own issuer and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(NOW - dt.timedelta(3650)).not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def server_context(folder: Path, name: str = "door.pem") -> ssl.SSLContext:
    """Return the context of a door with TLS 1.2 and later only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / name)
    return context


def caller_context(own: Path) -> ssl.SSLContext:
    """Return the context of a caller who is let in everywhere, and believes this certificate only.

    Its time is not looked at: tests set the clock, the library does not know.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(own)
    return context


@contextlib.asynccontextmanager
async def listen(
    context: ssl.SSLContext | None, answer: bytes = b"200 OK", told: bytes = _TOLD
) -> AsyncIterator[int]:
    """Yield the port of a listener that answers every request alike."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 " + answer + b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(told)
            writer.write(head + told)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
