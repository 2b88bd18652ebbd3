"""Command lines of a site's processes, from border to console."""

import sys
from dataclasses import dataclass
from pathlib import Path

from replication.model import DATA_SITES, Site
from replication.tls import CURRENT, REVOKED
from runbooks.stand.certificates import ETCD_PEER, tls_dir
from runbooks.stand.processes import Program
from runbooks.stand.topology import LOOPBACK, Stand, socket_of, stand_path, write_private

HEARTBEAT_MS, ELECTION_MS = 100, 1000
"""Source: etcd's defaults. Half as much would let a lease live 1 s instead of 2 s, but on two busy
cores a stalled fsync then costs an election more often than a lost leader does."""
CIPHERS = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
"""etcd's below TLS 1.3. Source: RFC 9325, 4.2; our certificates have ECDSA keys."""
_PAYER_FAKES = ("--messages", "fake", "--opinions", "fake")
AGENT_PROGRAMS = ("agent", "api", "projector", "payer", "notary", "watcher", "console")


@dataclass(frozen=True, slots=True)
class ServerBinaries:
    """Where the servers' programs are, and etcd's version; `valkey` has no TLS (`Stand.valkey_tls_bin`)."""

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
                (
                    str(stand.valkey_tls_bin or binaries.valkey),
                    str(stand.site_dir(site) / "valkey" / "valkey.conf"),
                ),
                stand.port(site, "valkey"),
            ),
            Program(
                "agent", (*python, "replication.agent", "--settings", settings), stand.port(site, "agent")
            ),
            Program(
                "api",
                (*python, "core_app.api", "--settings", settings, "--bureau", "fake", "--identity", "fake"),
                stand.port(site, "api"),
            ),
            Program(
                "projector",
                (*python, "core_app.projector", "--settings", settings),
                stand.port(site, "projector"),
            ),
            Program(
                "payer",
                (*python, "core_app.payer", "--settings", settings, *_PAYER_FAKES),
                stand.port(site, "payer"),
            ),
            Program(
                "notary", (*python, "core_app.notary", "--settings", settings), stand.port(site, "notary")
            ),
            Program(
                "watcher", (*python, "ueba.watcher", "--settings", settings), stand.port(site, "watcher")
            ),
            Program(
                "console",
                (
                    *python,
                    "runbooks.console",
                    "--settings",
                    settings,
                    "--evidence",
                    str(stand.evidence_dir),
                    "--home",
                    str(stand.home),
                ),
                stand.port(site, "console"),
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
        "--tls",
        str(tls_dir(stand.home, site)),
        "--sockets",
        str(stand.sockets_dir(site)),
    )
    return Program("border", command, stand.port(site, "border-control"))


def plan_etcd(stand: Stand, site: Site, binaries: ServerBinaries) -> Program:
    """Return the etcd member of a site; its peers are reached through the border's CONNECT port.

    Go never uses a proxy for `localhost`, but does for `LOCALHOST`, which the border reads as here. The
    proxy's own scheme is https: Go shows it the peer's certificate. etcd reads certificate, key and
    revocations anew at each handshake. Any process of ours may be a client: `--client-cert-allowed-hostname`
    would also refuse the JSON gateway's calls to its own server, whose certificate it does not verify.
    """
    client = stand.etcd_url(site)
    tls = tls_dir(stand.home, site)
    own = {"cert-file": tls / CURRENT / "etcd.crt", "key-file": tls / CURRENT / "etcd.key"}
    own |= {"trusted-ca-file": tls / CURRENT / "ca.crt"}
    peer = {member: f"https://LOCALHOST:{stand.port(member, 'etcd-peer')}" for member in Site}
    flags = {
        "name": str(site),
        "data-dir": str(stand.site_dir(site) / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": f"https://{LOOPBACK}:{stand.port(site, 'etcd-peer')}",
        "initial-advertise-peer-urls": peer[site],
        "initial-cluster": ",".join(f"{member}={url}" for member, url in peer.items()),
        **{name: str(path) for name, path in own.items()},
        **{f"peer-{name}": str(path) for name, path in own.items()},
        "client-cert-auth": "true",
        "peer-client-cert-auth": "true",
        "peer-cert-allowed-hostname": ETCD_PEER,
        "client-crl-file": str(tls / REVOKED),
        "peer-crl-file": str(tls / REVOKED),
        "cipher-suites": CIPHERS,
        "initial-cluster-token": stand.control_token[:8],
        "heartbeat-interval": str(HEARTBEAT_MS),
        "election-timeout": str(ELECTION_MS),
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": "1000",
        "log-level": "error",  # a warning a request: the gateway's certificate is not the caller's
    }
    if binaries.etcd_version >= (3, 6):
        flags["feature-gates"] = "InitialCorruptCheck=true"
    else:
        flags["experimental-initial-corrupt-check"] = "true"
    command = [str(binaries.etcd)]
    command += [f"--{name}={value}" for name, value in flags.items()]
    proxy = f"https://{LOOPBACK}:{stand.port(site, 'border-connect')}"
    return Program("etcd", tuple(command), stand.port(site, "etcd-client"), (("HTTPS_PROXY", proxy),))


def write_valkey_settings(stand: Stand, site: Site) -> None:
    """Write the site's valkey.conf (private: it holds the password, which no command line may show)."""
    directory = stand.site_dir(site) / "valkey"
    directory.mkdir(parents=True, exist_ok=True)
    password = stand.key_path("valkey").read_text().strip()
    lines = [
        *_valkey_listens(stand, site),
        f"requirepass {password}",
        f'dir "{directory}"',
        "appendonly yes",
        'save ""',
        "daemonize no",
        "set-proc-title no",  # a title would overwrite the environment that tells whose process it is
    ]
    write_private(directory / "valkey.conf", "\n".join(lines) + "\n")


def _valkey_listens(stand: Stand, site: Site) -> list[str]:
    """Return where Valkey listens: by mutual TLS 1.3 where its build can, else at a private Unix socket."""
    if stand.valkey_tls_bin is None:
        return ["port 0", f'unixsocket "{socket_of(stand, f"{site}/valkey")}"', "unixsocketperm 600"]
    own = tls_dir(stand.home, site) / CURRENT
    return [
        "port 0",
        f"tls-port {stand.port(site, 'valkey')}",
        f"bind {LOOPBACK}",
        f'tls-cert-file "{own / "valkey.crt"}"',
        f'tls-key-file "{own / "valkey.key"}"',
        f'tls-ca-cert-file "{own / "ca.crt"}"',
        "tls-auth-clients yes",
        "tls-protocols TLSv1.3",
        "tls-session-caching no",  # a resumed session would skip the look at who calls
    ]
