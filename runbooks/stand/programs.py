"""Command lines of a site's processes: border, etcd, valkey, agent, API, projector, payer, notary."""

import sys
from dataclasses import dataclass
from pathlib import Path

from replication.model import DATA_SITES, Site
from runbooks.stand.processes import Program
from runbooks.stand.topology import LOOPBACK, Stand, stand_path, write_private

HEARTBEAT_MS, ELECTION_MS = 100, 1000
"""Source: etcd's defaults. Half as much would let a lease live 1 s instead of 2 s, but on two busy
cores a stalled fsync then costs an election more often than a lost leader does."""
AGENT_PROGRAMS = ("agent", "api", "projector", "payer", "notary")


@dataclass(frozen=True, slots=True)
class ServerBinaries:
    """Where the servers' programs are, and etcd's version."""

    etcd: Path
    etcd_version: tuple[int, ...]
    valkey: Path


def plan_programs(stand: Stand, site: Site, binaries: ServerBinaries) -> tuple[Program, ...]:
    """Return what runs at `site`, in the order of starting."""
    programs = [plan_border(stand, site), plan_etcd(stand, site, binaries)]
    if site in DATA_SITES:
        settings = str(stand.site_dir(site) / "site.json")
        python = (sys.executable, "-m")
        programs += [
            Program(
                "valkey",
                (str(binaries.valkey), str(stand.site_dir(site) / "valkey" / "valkey.conf")),
                stand.port(site, "valkey"),
            ),
            Program(
                "agent", (*python, "replication.agent", "--settings", settings), stand.port(site, "agent")
            ),
            Program(
                "api",
                (*python, "core_app.api", "--settings", settings, "--bureau", "fake"),
                stand.port(site, "api"),
            ),
            Program(
                "projector",
                (*python, "core_app.projector", "--settings", settings),
                stand.port(site, "projector"),
            ),
            Program("payer", (*python, "core_app.payer", "--settings", settings), stand.port(site, "payer")),
            Program(
                "notary", (*python, "core_app.notary", "--settings", settings), stand.port(site, "notary")
            ),
        ]
    return tuple(programs)


def plan_border(stand: Stand, site: Site) -> Program:
    """Return the border relay of a site."""
    command = (
        sys.executable,
        "-m",
        "runbooks.stand.border",
        "--stand",
        str(stand_path(stand.home)),
        "--site",
        site,
    )
    return Program("border", command, stand.port(site, "border-control"))


def plan_etcd(stand: Stand, site: Site, binaries: ServerBinaries) -> Program:
    """Return the etcd member of a site; its peers are reached through the border's CONNECT port.

    Go never uses a proxy for `localhost`, but does for `LOCALHOST`, which the border reads as here.
    """
    client = f"http://{LOOPBACK}:{stand.port(site, 'etcd-client')}"
    peer = {member: f"https://LOCALHOST:{stand.port(member, 'etcd-peer')}" for member in Site}
    flags = {
        "name": str(site),
        "data-dir": str(stand.site_dir(site) / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": f"https://{LOOPBACK}:{stand.port(site, 'etcd-peer')}",
        "initial-advertise-peer-urls": peer[site],
        "initial-cluster": ",".join(f"{member}={url}" for member, url in peer.items()),
        "initial-cluster-token": stand.control_token[:8],
        "heartbeat-interval": str(HEARTBEAT_MS),
        "election-timeout": str(ELECTION_MS),
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": "1000",
        "log-level": "warn",
    }
    if binaries.etcd_version >= (3, 6):
        flags["feature-gates"] = "InitialCorruptCheck=true"
    else:
        flags["experimental-initial-corrupt-check"] = "true"
    command = [str(binaries.etcd), "--peer-auto-tls"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    proxy = f"http://{LOOPBACK}:{stand.port(site, 'border-connect')}"
    return Program("etcd", tuple(command), stand.port(site, "etcd-client"), (("HTTPS_PROXY", proxy),))


def write_valkey_settings(stand: Stand, site: Site) -> None:
    """Write the site's valkey.conf (private: it holds the password, which no command line may show)."""
    directory = stand.site_dir(site) / "valkey"
    directory.mkdir(parents=True, exist_ok=True)
    password = stand.key_path("valkey").read_text().strip()
    lines = [
        f"bind {LOOPBACK}",
        f"port {stand.port(site, 'valkey')}",
        f"requirepass {password}",
        f'dir "{directory}"',
        "appendonly yes",
        'save ""',
        "daemonize no",
        "set-proc-title no",  # a title would overwrite the environment that tells whose process it is
    ]
    write_private(directory / "valkey.conf", "\n".join(lines) + "\n")
