"""From settings to places, names and addresses, and everything that must hold between them. Pure.

`check_topology` returns refusals, each with its setting and a way out; after one, nothing is created.
"""

import ipaddress
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from infra.settings import DATA_SITES, CellSettings, CopySettings, DataSiteName, Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ZONE = "biyi.internal"
"""Private DNS zone in which both sites find each other."""
FIRST_COPY_ADDRESS, ETCD_ADDRESS, AGENT_ADDRESS = 10, 2, 3
"""Host numbers inside a site's `addresses`. Source: our choice; 1 is usually a gateway."""
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_MAINLAND = re.compile(r"cn-(?!hongkong)[a-z]+(-[a-z]+)*(-\d+)?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that must not be built: the setting, what is wrong, and what would be right."""

    setting: str
    wrong: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.wrong}; {self.way_out}"


@dataclass(frozen=True, slots=True)
class Copy:
    """A place at which a copy stands; `place` is `<cell>-<site>-<ordinal>` as the agents name it."""

    place: str
    cell: str
    site: DataSiteName
    ordinal: int
    zone: str
    address: str
    """At which the other site reaches it."""

    @property
    def host(self) -> str:
        """Name that both sites resolve."""
        return f"{self.place}.{self.site}.{ZONE}"


@dataclass(frozen=True, slots=True)
class Topology:
    """Every place as a plain value, derived from checked settings."""

    settings: Settings
    copies: tuple[Copy, ...]

    def at(self, site: DataSiteName) -> tuple[Copy, ...]:
        """Return the copies of a site."""
        return tuple(copy for copy in self.copies if copy.site == site)

    def etcd_hosts(self) -> dict[str, str]:
        """Return the name of each etcd member's host by site."""
        return {site: f"etcd.{site}.{ZONE}" for site in ("idc", "cloud", "witness")}

    def addresses(self) -> dict[str, str]:
        """Return the address of each name that the sites look up."""
        found = {copy.host: copy.address for copy in self.copies}
        for site in DATA_SITES:
            pool = ipaddress.ip_network(self.settings.site(site).networks.addresses)
            found[self.etcd_hosts()[site]] = str(pool[ETCD_ADDRESS])
            found[f"agent.{site}.{ZONE}"] = str(pool[AGENT_ADDRESS])
        found[self.etcd_hosts()["witness"]] = self.settings.witness.address
        return found


def plan_topology(settings: Settings) -> Topology:
    """Return the places of checked settings; ordinals count the copies of a cell at one site."""
    copies = []
    used = {site: itertools.count(FIRST_COPY_ADDRESS) for site in DATA_SITES}
    for cell in settings.cells:
        ordinals = {site: itertools.count() for site in DATA_SITES}
        for copy in cell.copies:
            if copy.site == "witness":
                continue
            pool = ipaddress.ip_network(settings.site(copy.site).networks.addresses)
            ordinal = next(ordinals[copy.site])
            place = f"{cell.name}-{copy.site}-{ordinal}"
            address = str(pool[next(used[copy.site])])
            copies.append(Copy(place, cell.name, copy.site, ordinal, copy.zone, address))
    return Topology(settings, tuple(copies))


def check_topology(settings: Settings) -> tuple[Refusal, ...]:
    """Return everything that speaks against building `settings`; empty means it may be built."""
    checks = (
        _check_networks, _check_votes, _check_cells, _check_zones, _check_residency, _check_link,
        _check_images, _check_purchases, _check_capacity, _check_access,
    )  # fmt: skip
    return tuple(itertools.chain.from_iterable(check(settings) for check in checks))


def _networks(settings: Settings) -> Iterator[tuple[str, str]]:
    for site in DATA_SITES:
        networks = settings.site(site).networks
        for kind in ("nodes", "pods", "services", "addresses"):
            yield f"{site}.networks.{kind}", getattr(networks, kind)
    yield "witness.network", settings.witness.network


def _check_networks(settings: Settings) -> Iterator[Refusal]:
    read: list[tuple[str, Network]] = []
    for setting, text in _networks(settings):
        try:
            read.append((setting, ipaddress.ip_network(text)))
        except ValueError as error:
            yield Refusal(setting, f"{text!r} is no network ({error})", "write it like 10.16.0.0/18")
    for (one, a), (other, b) in itertools.combinations(read, 2):
        if a.overlaps(b):
            way = f"give {other} a range outside {a}: the sites route to each other"
            yield Refusal(other, f"{b} overlaps {one} ({a})", way)
    for setting, network in read:
        if not network.is_private:
            yield Refusal(setting, f"{network} is a public range", "take one of RFC 1918")
    for site in DATA_SITES:
        pool = dict(read).get(f"{site}.networks.addresses")
        needed = FIRST_COPY_ADDRESS + sum(c.site == site for cell in settings.cells for c in cell.copies) + 1
        if pool is not None and pool.num_addresses < needed:
            setting = f"{site}.networks.addresses"
            yield Refusal(
                setting, f"{pool} has {pool.num_addresses} addresses, {needed} are needed", "widen it"
            )
    witness = dict(read).get("witness.network")
    try:
        inside = witness is None or ipaddress.ip_address(settings.witness.address) in witness
    except ValueError:
        inside = False
    if not inside:
        yield Refusal(
            "witness.address", f"{settings.witness.address} is not in {witness}", "take an address of it"
        )


def _check_votes(settings: Settings) -> Iterator[Refusal]:
    votes = settings.votes
    total = sum(votes.values())
    if min(votes.values(), default=0) < 0 or total % 2 == 0:
        yield Refusal(
            "votes", f"{total} votes in all", "use an odd number: an even one bears no more losses, only more"
        )
    holders = [site for site, count in votes.items() if count > 0]
    if len(holders) < 3:
        way = "give idc, cloud and witness a vote each: with two failure domains the loss of one stops both"
        yield Refusal("votes", f"only {', '.join(holders) or 'nobody'} vote", way)
    for site, count in votes.items():
        if 2 * count > total:
            yield Refusal(
                f"votes.{site}",
                f"{count} of {total} votes is a majority",
                "spread them: no site may decide alone",
            )


def _check_cells(settings: Settings) -> Iterator[Refusal]:
    if not settings.cells:
        yield Refusal("cells", "none", "name at least one, see infra/stacks/topology.yaml")
    names = [cell.name for cell in settings.cells]
    for index, cell in enumerate(settings.cells):
        where = f"cells.{index} ({cell.name})"
        if names.count(cell.name) > 1:
            yield Refusal(f"{where}.name", f"{cell.name!r} is used twice", "give each cell a name of its own")
        yield from _check_copies(where, cell)


def _check_copies(where: str, cell: CellSettings) -> Iterator[Refusal]:
    sites = {copy.site for copy in cell.copies}
    if "witness" in sites:
        yield Refusal(
            f"{where}.copies", "a copy at the witness", "move it: the witness may hold no customer data"
        )
    if not {"idc", "cloud"} <= sites:
        found = ", ".join(sorted(sites)) or "no site"
        yield Refusal(
            f"{where}.copies", f"copies in {found} only", "add one at the other site: no site may be the last"
        )
    if cell.home not in sites:
        yield Refusal(f"{where}.home", f"no copy at {cell.home}", f"add a copy at {cell.home} or change home")
    if len(cell.copies) > 3:
        yield Refusal(
            f"{where}.copies", f"{len(cell.copies)} copies", "two or three: one at the other site, one beside"
        )
    for one, other in itertools.combinations(cell.copies, 2):
        if one == other:
            what = f"two copies in zone {one.zone} of {one.site}"
            yield Refusal(f"{where}.copies", what, "put one into another zone: one fire must not take both")


def _check_zones(settings: Settings) -> Iterator[Refusal]:
    for site in DATA_SITES:
        zones = settings.site(site).zones
        if len(set(zones)) < 2:
            yield Refusal(
                f"{site}.zones", f"{', '.join(zones) or 'none'}", "name at least two different zones"
            )
        for zone in zones:
            region = settings.site(site).region
            if region and not zone.startswith(region + "-"):
                yield Refusal(
                    f"{site}.zones", f"{zone} is no zone of {region}", f"zones there start with {region}-"
                )
    for index, cell in enumerate(settings.cells):
        for number, copy in enumerate(cell.copies):
            yield from _check_zone_of(settings, f"cells.{index} ({cell.name}).copies.{number}.zone", copy)
    if not settings.witness.zone.startswith(settings.witness.region + "-"):
        yield Refusal(
            "witness.zone",
            f"{settings.witness.zone} is no zone of {settings.witness.region}",
            "take one of it",
        )


def _check_zone_of(settings: Settings, where: str, copy: CopySettings) -> Iterator[Refusal]:
    if copy.site != "witness" and copy.zone not in settings.site(copy.site).zones:
        known = ", ".join(settings.site(copy.site).zones)
        yield Refusal(where, f"{copy.zone} is no zone of site {copy.site}", f"take one of {known}")


def _check_residency(settings: Settings) -> Iterator[Refusal]:
    for site in DATA_SITES:
        region = settings.site(site).region
        if region is not None and not _MAINLAND.fullmatch(region):
            way = "take a region in mainland China: customer data stay there (GB/T 22239-2019 8.2.1.1)"
            yield Refusal(f"{site}.region", f"{region} is outside", way)
        if not settings.site(site).storage_encrypted:
            way = "use a storage class that encrypts and say so (GB/T 22239-2019 8.1.4.8 b)"
            yield Refusal(f"{site}.storage_encrypted", "customer data on plain disks", way)
    if settings.cloud.region is None:
        yield Refusal("cloud.region", "missing", "name the region of the cloud site, e.g. cn-shanghai")
    if settings.witness.region == settings.cloud.region:
        way = "take another region: with the cloud's region two votes would be lost at once"
        yield Refusal("witness.region", f"{settings.witness.region} is the cloud site's too", way)


def _check_link(settings: Settings) -> Iterator[Refusal]:
    circuits = settings.link.circuits
    ways = len({circuit.physical_connection_id for circuit in circuits}) + (settings.link.vpn is not None)
    if ways < 2:
        yield Refusal(
            "link", f"{ways} way between the sites", "order a second circuit or set link.vpn as the way out"
        )
    for name in ("name", "physical_connection_id", "vlan"):
        values = [getattr(circuit, name) for circuit in circuits]
        for value in sorted({v for v in values if values.count(v) > 1}, key=str):
            if name != "vlan":
                yield Refusal(
                    "link.circuits", f"{name} {value} is used twice", "each circuit is a line of its own"
                )
    for index, circuit in enumerate(circuits):
        if not 0 <= circuit.vlan <= 2999:
            yield Refusal(f"link.circuits.{index}.vlan", f"{circuit.vlan}", "Express Connect takes 0 to 2999")


def _check_images(settings: Settings) -> Iterator[Refusal]:
    for name in ("biyi", "valkey", "etcd"):
        image = getattr(settings.images, name)
        if not _DIGEST.fullmatch(image):
            yield Refusal(f"images.{name}", f"{image!r} names no digest", "pin it: name@sha256:… (8.2.4.4 b)")


def _check_purchases(settings: Settings) -> Iterator[Refusal]:
    bought, existing = settings.purchases, settings.existing
    if not bought.kms_instance and not existing.kms_instance_id:
        way = "set existing.kms_instance_id, or purchases.kms_instance: true (prepaid: spends money at once)"
        yield Refusal("purchases.kms_instance", "no KMS instance: SM4 keys need one", way)
    for setting, wanted, owned, has in (
        ("purchases.kms_instance", bought.kms_instance, "existing.kms_instance_id", existing.kms_instance_id),
        ("purchases.waf", bought.waf, "existing.waf_instance_id", existing.waf_instance_id),
    ):
        if wanted and has:
            yield Refusal(setting, f"would be bought although {owned} is set", "remove one of both")
    if not bought.waf and not existing.waf_instance_id:
        way = "set existing.waf_instance_id, or purchases.waf: true (prepaid)"
        yield Refusal("purchases.waf", "nothing guards the entrance against web attacks (8.1.3.3 a)", way)
    if not existing.certificate_id:
        way = "upload the certificate of the domain and name its id: the entrance speaks TLS only"
        yield Refusal("existing.certificate_id", "missing", way)


def _check_capacity(settings: Settings) -> Iterator[Refusal]:
    for site in DATA_SITES:
        data = settings.site(site)
        if data.api_replicas_min < 2:
            yield Refusal(
                f"{site}.api_replicas_min", str(data.api_replicas_min), "at least 2: one node may go"
            )
        both = sum(settings.site(name).api_replicas_min for name in DATA_SITES)
        if data.api_replicas_burst < both:
            way = f"at least {both}: the site must bear the other site's load too"
            yield Refusal(f"{site}.api_replicas_burst", str(data.api_replicas_burst), way)
        if data.api_replicas_max < data.api_replicas_burst:
            way = f"at least {data.api_replicas_burst}, its api_replicas_burst"
            yield Refusal(f"{site}.api_replicas_max", str(data.api_replicas_max), way)
    cluster = settings.cloud_cluster
    if not len(settings.cloud.zones) <= cluster.work_nodes_min <= cluster.work_nodes_max:
        way = "needs zones <= work_nodes_min <= work_nodes_max"
        yield Refusal("cloud_cluster.work_nodes_min", str(cluster.work_nodes_min), way)
    if settings.audit_days < 180:
        yield Refusal("audit_days", str(settings.audit_days), "at least 180 (GB/T 22239-2019 8.1.5.4 d)")
    if not 1 <= settings.backup_days <= 70 * 365:
        yield Refusal(
            "backup_days", str(settings.backup_days), "1 day to 70 years, as OSS retention policies take"
        )


def _check_access(settings: Settings) -> Iterator[Refusal]:
    if not settings.admin_networks:
        yield Refusal("admin_networks", "none", "name the networks of the bastion and the company's VPN")
    for index, text in enumerate(settings.admin_networks):
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            yield Refusal(f"admin_networks.{index}", f"{text!r} is no network", "write it like 10.9.0.0/24")
            continue
        if network.num_addresses > 65536 or not network.is_private:
            yield Refusal(
                f"admin_networks.{index}", f"{network} is open to strangers", "a private /16 or smaller"
            )
