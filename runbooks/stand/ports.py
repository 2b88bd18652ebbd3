"""Names of the stand's ports and who listens where: plain values, standard library only.

A port's name says its site and purpose: `idc/agent`, `cloud/copy:a-cloud-0`; the border of idc
listens at `idc/to/cloud/agent` and connects to `cloud/agent`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runbooks.stand.links import SITE_NAMES

DATA_SITE_NAMES = ("idc", "cloud")
OUTSIDE = "outside"
COPY = "copy:"
_LOCAL = (COPY, "border-control", "valkey")
"""Services that listen at Unix sockets (Valkey where no build has TLS); their numbers tell them apart."""
BANKS = ("bank_a", "bank_b")
"""What lies outside all sites: the fake banks, the favoured one first."""
LOWEST_PORT, HIGHEST_PORT = 15_000, 31_000
"""Source: our choice; above the usual servers, below Linux's ephemeral range (32768 up)."""


@dataclass(frozen=True, slots=True)
class Relay:
    """One listener of a border: bytes that arrive at `listen_port` go to `target_port` at `destination`.

    What speaks TLS itself is carried as it is. PostgreSQL does not (its wheel has no OpenSSL): it is
    `tunnelled`, both ports are those of Unix sockets, and the two borders speak TLS at `tunnel_port`.
    """

    listen_port: int
    destination: str
    target_port: int
    tunnel_port: int | None = None


def place_names(cells: Mapping[str, str], copies: int) -> tuple[str, ...]:
    """Return `<cell>-<site>-<ordinal>` of every copy; `cells` maps a cell to its home site."""
    names = [f"{cell}-{site}-0" for cell in cells for site in DATA_SITE_NAMES]
    if copies == 3:
        names += [f"{cell}-{home}-1" for cell, home in cells.items()]
    return tuple(sorted(names))


def needed_ports(cells: Mapping[str, str], copies: int) -> tuple[str, ...]:
    """Return the names of all ports that a stand with these cells needs."""
    copies_at = {
        site: [f"{COPY}{place}" for place in place_names(cells, copies) if place.split("-")[1] == site]
        for site in DATA_SITE_NAMES
    }
    services = {site: ["agent", "api", *copies_at[site], "etcd-client"] for site in DATA_SITE_NAMES}
    services["witness"] = ["etcd-client"]
    names = []
    for site in SITE_NAMES:
        names += [f"{site}/{name}" for name in ("border-control", "border-connect", "etcd-peer")]
        names += [f"{site}/{service}" for service in services[site]]
        if site in DATA_SITE_NAMES:  # the witness calls nobody but its etcd peers
            names += [
                f"{site}/{name}"
                for name in ("valkey", "projector", "payer", "notary", "watcher", "console", "border-tunnel")
            ]
            names += [f"{site}/to/{to}/{s}" for to in SITE_NAMES if to != site for s in services[to]]
    return (*names, *(f"{OUTSIDE}/{bank}" for bank in BANKS))


def choose_ports(names: Iterable[str], first: int, is_free: Callable[[int], bool]) -> dict[str, int]:
    """Give each name a free port, counting up from `first` and round; OSError when too few are free."""
    candidates = iter([*range(first, HIGHEST_PORT), *range(LOWEST_PORT, first)])
    chosen: dict[str, int] = {}
    for name in names:
        port = next((p for p in candidates if is_free(p)), None)
        if port is None:
            raise OSError(f"no free port for {name} between {LOWEST_PORT} and {HIGHEST_PORT}")
        chosen[name] = port
    return chosen


def relays_of(ports: Mapping[str, int], site: str) -> tuple[Relay, ...]:
    """Return what the border of `site` listens on besides its CONNECT and control ports."""
    start = f"{site}/to/"
    return tuple(
        Relay(
            port,
            name.split("/")[2],
            ports[name.removeprefix(start)],
            ports[f"{name.split('/')[2]}/border-tunnel"] if name.split("/")[3].startswith(COPY) else None,
        )
        for name, port in ports.items()
        if name.startswith(start)
    )


def own_copies(ports: Mapping[str, int], site: str) -> frozenset[int]:
    """Return the numbers of the sockets of the site's own copies."""
    return frozenset(port for name, port in ports.items() if name.startswith(f"{site}/{COPY}"))


def socket_name(service: str, port: int) -> str | None:
    """Return the name of a service's Unix socket, None when it listens at TCP.

    >>> socket_name("to/cloud/copy:a-cloud-0", 15003), socket_name("valkey", 15009)
    ('.s.PGSQL.15003', 'valkey.15009')
    """
    kind = service.rpartition("/")[2]
    if not kind.startswith(_LOCAL):
        return None
    return f".s.PGSQL.{port}" if kind.startswith(COPY) else f"{kind}.{port}"


def peers_of(ports: Mapping[str, int], site: str) -> dict[int, str]:
    """Return the etcd peer ports of the other sites: the CONNECT proxy knows the site by the port."""
    return {ports[f"{other}/etcd-peer"]: other for other in SITE_NAMES if other != site}
