"""The one document that describes both sites and the witness, as values. Pure.

Every stack reads the same document (`stacks/topology.yaml`), so no two stacks can disagree about an
address. Unknown keys are refused with their path. Networks are CIDR texts, sizes are GiB, bandwidths
Mbit/s. Relations between settings are checked in `topology.py`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import yaml
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError

_STRICT = ConfigDict(extra="forbid")

SiteName = Literal["idc", "cloud", "witness"]
DataSiteName = Literal["idc", "cloud"]
DATA_SITES: tuple[DataSiteName, DataSiteName] = ("idc", "cloud")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
CellName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,9}$")]


class SettingsRefused(Exception):
    """The document cannot be used; the message names each setting, what was found, and a way out."""


@dataclass(frozen=True, slots=True)
class Networks:
    """Address ranges of one site; none may overlap another of any site."""

    __pydantic_config__ = _STRICT

    nodes: str
    """Machines; split into one vSwitch a zone in the cloud."""
    pods: str
    services: str
    """Cluster-internal services of Kubernetes."""
    addresses: str
    """Fixed addresses at which the other site reaches copies and etcd."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """How the program reaches a site's Kubernetes API: a context of a kubeconfig file.

    None of both, for the cloud only: credentials of the cluster that stack `ack` made. With contexts for
    both sites the workloads deploy onto any two clusters, without a cloud account.
    """

    __pydantic_config__ = _STRICT

    context: str | None = None
    kubeconfig: str | None = None
    """Path of the file; None: the usual one."""


@dataclass(frozen=True, slots=True)
class DataSite:
    """A site that holds customer data and serves customers."""

    __pydantic_config__ = _STRICT

    networks: Networks
    zones: tuple[Name, ...]
    """Failure domains inside the site: zones of the region, or fire compartments of the data centre."""
    storage_class: Name
    storage_encrypted: bool
    """Whether that storage class encrypts what it stores. Only the owner of the site can say so."""
    entrance: str
    """Public address at which customers reach the site."""
    region: str | None = None
    """Region of the cloud; None: a data centre of our own, inside the country."""
    cluster: Cluster = field(default_factory=Cluster)
    load_balancer_annotations: dict[str, str] = field(default_factory=dict)
    """Put on each Service of type LoadBalancer; they must make it internal."""
    api_replicas_min: int = 2
    """API pods when all is well. Source: our choice, one for each of two zones."""
    api_replicas_burst: int = 4
    """API pods, at least, while the other site is lost. Source: our choice, what bears both sites' load."""
    api_replicas_max: int = 12
    """API pods while the other site is lost. Source: our choice, three times a doubled load."""


@dataclass(frozen=True, slots=True)
class WitnessSite:
    """The third place: one vote, no customer data."""

    __pydantic_config__ = _STRICT

    region: str
    zone: Name
    network: str
    """Its own small network, CIDR."""
    address: str
    """Fixed address of its etcd member inside `network`."""
    instance_type: str = "ecs.g7.large"
    disk_gib: int = 40
    """Data disk of the etcd member. Source: etcd's advice of 8 GB at most, five times that for snapshots."""
    image_id: str = "aliyun_3_x64_20G_alibase_20240819.vhd"


@dataclass(frozen=True, slots=True)
class CopySettings:
    """Where a copy of a cell stands."""

    __pydantic_config__ = _STRICT

    site: SiteName
    zone: Name


@dataclass(frozen=True, slots=True)
class CellSettings:
    """A cell: home of its primary, and its copies."""

    __pydantic_config__ = _STRICT

    name: CellName
    home: DataSiteName
    copies: tuple[CopySettings, ...]
    degrade: Literal["after", "block"] = "after"
    storage_gib: int = 200
    """Volume of each copy. Source: our choice, two years of a million loans at 40 KB with room to spare."""
    backup_gib: int = 400
    """Volume of the archive at each site. Source: our choice, twice a copy: two sealed full backups and their
    WAL (`keep_full` of the agent's own settings), and what is being taken."""
    cpu: str = "4"
    memory: str = "16Gi"


@dataclass(frozen=True, slots=True)
class Circuit:
    """A leased line between the data centre and the cloud; ordering it is a matter of paper, not of code."""

    __pydantic_config__ = _STRICT

    name: Name
    physical_connection_id: str
    vlan: int
    cloud_ip: str
    idc_ip: str
    mask: str
    bandwidth_mbit: int


@dataclass(frozen=True, slots=True)
class Vpn:
    """The path when every circuit is down: IPsec over the Internet. The key stands in a KMS secret."""

    __pydantic_config__ = _STRICT

    idc_gateway_ip: str


@dataclass(frozen=True, slots=True)
class Link:
    """What joins the two sites."""

    __pydantic_config__ = _STRICT

    circuits: tuple[Circuit, ...]
    idc_asn: int
    vpn: Vpn | None = None


@dataclass(frozen=True, slots=True)
class Purchases:
    """What may be bought. Each is prepaid: creating it spends money at once. Nothing is bought by default."""

    __pydantic_config__ = _STRICT

    kms_instance: bool = False
    waf: bool = False
    bastion: bool = False
    cloud_firewall: bool = False
    security_center: bool = False
    gtm: bool = False


@dataclass(frozen=True, slots=True)
class Existing:
    """What was bought before and is used as it is: ids from the console."""

    __pydantic_config__ = _STRICT

    kms_instance_id: str | None = None
    waf_instance_id: str | None = None
    certificate_id: str | None = None
    """Server certificate of `domain` in the certificate service."""


@dataclass(frozen=True, slots=True)
class CloudCluster:
    """The managed cluster of the cloud site."""

    __pydantic_config__ = _STRICT

    version: str = "1.36.1-aliyun.1"
    copy_nodes: tuple[str, ...] = ("ecs.g7.2xlarge",)
    """Machine types for copies, in order of preference."""
    work_nodes: tuple[str, ...] = ("ecs.c7.2xlarge", "ecs.c6.2xlarge")
    work_nodes_min: int = 2
    """Source: our choice, one for each of two zones."""
    work_nodes_max: int = 10
    """Source: our choice, room for `api_replicas_max` and the workers."""


@dataclass(frozen=True, slots=True)
class Images:
    """Container images, each pinned by digest (`name@sha256:…`)."""

    __pydantic_config__ = _STRICT

    biyi: str
    valkey: str
    etcd: str
    pull_secret: Name | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Both sites, the witness, what joins them, and what runs there."""

    __pydantic_config__ = _STRICT

    environment: Name
    domain: str
    """Name at which customers reach the business, e.g. `lend.example.com`."""
    idc: DataSite
    cloud: DataSite
    witness: WitnessSite
    link: Link
    cells: tuple[CellSettings, ...]
    images: Images
    votes: dict[SiteName, int] = field(default_factory=lambda: {"idc": 1, "cloud": 1, "witness": 1})
    cloud_cluster: CloudCluster = field(default_factory=CloudCluster)
    purchases: Purchases = field(default_factory=Purchases)
    existing: Existing = field(default_factory=Existing)
    admin_networks: tuple[str, ...] = ()
    """From where administrators may come (bastion, VPN of the company)."""
    audit_days: int = 365
    """How long logs are kept. Source: GB/T 22239-2019 8.1.5.4 d and the law's six months; ours is double."""
    backup_days: int = 35
    """How long no backup can be deleted or changed (WORM). Source: our choice, a month and a few days."""

    def site(self, name: DataSiteName) -> DataSite:
        """Return a data site by its name."""
        return self.idc if name == "idc" else self.cloud


_ADAPTER = TypeAdapter(Settings)


def parse_settings(text: str, source: str) -> Settings:
    """Return the settings in YAML `text`; SettingsRefused names `source` and each bad field with its path."""
    try:
        plain = yaml.safe_load(text)
        return _ADAPTER.validate_python(plain)
    except yaml.YAMLError as error:
        raise SettingsRefused(f"{source}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        raise SettingsRefused(f"{source}: " + "; ".join(_describe(e) for e in error.errors())) from error


def _describe(error: object) -> str:
    assert isinstance(error, dict)  # noqa: S101 - pydantic's own shape
    path = ".".join(map(str, error["loc"])) or "the document"
    match error["type"]:
        case "unexpected_keyword_argument":
            return f"{path}: no such setting; remove it or see infra/settings.py for the names"
        case "missing":
            return f"{path}: is missing; infra/stacks/topology.yaml shows an example"
        case _:
            return f"{path}: found {str(error['input'])[:60]!r}; {error['msg']}"
