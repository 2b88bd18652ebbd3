"""What must hold between settings, each refusal with the setting it names and a way out."""

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.settings import SettingsRefused, parse_settings
from infra.topology import check_topology, plan_topology
from tests.unit.infra.stage import EXAMPLE, example

Document = dict[str, Any]
Change = Callable[[Document], object]


def _read(document: Document) -> Any:
    return parse_settings(yaml.safe_dump(document), "topology.yaml")


def _refusals(change: Change) -> list[str]:
    document = example()
    change(document)
    return [str(refusal) for refusal in check_topology(_read(document))]


def test_the_example_may_be_built() -> None:
    assert check_topology(parse_settings(EXAMPLE.read_text(encoding="utf-8"), str(EXAMPLE))) == ()


CHANGES: dict[str, tuple[Change, str, str]] = {
    "overlap": (
        lambda d: d["cloud"]["networks"].update(nodes="10.16.32.0/19"),
        "cloud.networks.nodes: 10.16.32.0/19 overlaps idc.networks.nodes (10.16.0.0/18)",
        "give cloud.networks.nodes a range outside",
    ),
    "no network": (
        lambda d: d["idc"]["networks"].update(pods="10.16.64.1/18"), "idc.networks.pods", "write it like",
    ),
    "public": (lambda d: d["idc"]["networks"].update(pods="8.8.0.0/18"), "is a public range", "RFC 1918"),
    "narrow": (
        lambda d: d["idc"]["networks"].update(addresses="10.16.255.0/29"),
        "idc.networks.addresses: 10.16.255.0/29 has 8 addresses, 14 are needed", "widen it",
    ),
    "witness elsewhere": (
        lambda d: d["witness"].update(address="10.49.0.9"), "witness.address: 10.49.0.9 is not in",
            "take an address",
    ),
    "even": (lambda d: d["votes"].update(idc=2), "votes: 4 votes in all", "use an odd number"),
    "two places": (
        lambda d: d["votes"].update(witness=0, idc=1, cloud=0), "votes: only idc vote", "a vote each",
    ),
    "majority": (
        lambda d: d["votes"].update(idc=3), "votes.idc: 3 of 5 votes is a majority",
            "no site may decide alone",
    ),
    "no cell": (lambda d: d.update(cells=[]), "cells: none", "name at least one"),
    "twice": (lambda d: d["cells"][1].update(name="a"), "'a' is used twice", "a name of its own"),
    "one site": (
        lambda d: d["cells"][0].update(copies=[{"site": "idc", "zone": "room-1"}, {"site": "idc",
            "zone": "room-2"}]),
        "cells.0 (a).copies: copies in idc only", "add one at the other site",
    ),
    "one zone": (
        lambda d: d["cells"][0]["copies"][2].update(zone="room-1"),
        "cells.0 (a).copies: two copies in zone room-1 of idc", "one fire must not take both",
    ),
    "at the witness": (
        lambda d: d["cells"][0]["copies"][2].update(site="witness"), "a copy at the witness",
            "no customer data",
    ),
    "four": (
        lambda d: d["cells"][0]["copies"].append({"site": "cloud", "zone": "cn-shanghai-m"}), "4 copies",
        "two or three",
    ),
    "homeless": (
        lambda d: d["cells"][0].update(copies=[{"site": "cloud", "zone": "cn-shanghai-m"}]), "no copy at idc",
        "add a copy at idc",
    ),
    "no such zone": (
        lambda d: d["cells"][0]["copies"][0].update(zone="room-9"),
        "cells.0 (a).copies.0.zone: room-9 is no zone of site idc", "take one of room-1, room-2",
    ),
    "missing zone": (lambda d: d["idc"].update(zones=["room-1"]), "idc.zones: room-1", "at least two"),
    "foreign zone": (
        lambda d: d["cloud"].update(zones=["cn-shanghai-g", "cn-beijing-a"]),
            "cn-beijing-a is no zone of cn-shanghai",
        "cn-shanghai-",
    ),
    "witness zone": (lambda d: d["witness"].update(zone="cn-beijing-a"), "witness.zone", "take one of it"),
    "abroad": (lambda d: d["cloud"].update(region="ap-southeast-1"), "ap-southeast-1 is outside",
        "mainland China"),
    "hongkong": (lambda d: d["cloud"].update(region="cn-hongkong"), "cn-hongkong is outside", "8.2.1.1"),
    "plain disks": (
        lambda d: d["idc"].update(storage_encrypted=False), "customer data on plain disks", "8.1.4.8 b",
    ),
    "no region": (lambda d: d["cloud"].pop("region"), "cloud.region: missing", "e.g. cn-shanghai"),
    "witness too near": (
        lambda d: d["witness"].update(region="cn-shanghai"), "is the cloud site's too", "take another region",
    ),
    "one way": (
        lambda d: d["link"].update(circuits=d["link"]["circuits"][:1], vpn=None), "1 way between the sites",
        "second circuit",
    ),
    "same line": (
        lambda d: d["link"]["circuits"][1].update(physical_connection_id="pc-aaaa"), "pc-aaaa is used twice",
        "a line of its own",
    ),
    "vlan": (lambda d: d["link"]["circuits"][0].update(vlan=4000), "link.circuits.0.vlan: 4000", "0 to 2999"),
    "tag": (lambda d: d["images"].update(biyi="biyi:latest"), "images.biyi: 'biyi:latest'", "pin it"),
    "no key": (
        lambda d: d["existing"].pop("kms_instance_id"), "purchases.kms_instance: no KMS instance",
            "spends money",
    ),
    "bought twice": (
        lambda d: d["purchases"].update(kms_instance=True), "would be bought although", "remove one of both",
    ),
    "guard bought twice": (
        lambda d: d["purchases"].update(waf=True),
            "purchases.waf: would be bought although existing.waf_instance_id",
        "remove one",
    ),
    "no guard": (lambda d: d["existing"].pop("waf_instance_id"), "purchases.waf", "existing.waf_instance_id"),
    "no certificate": (lambda d: d["existing"].pop("certificate_id"), "existing.certificate_id", "TLS only"),
    "one pod": (lambda d: d["idc"].update(api_replicas_min=1), "idc.api_replicas_min: 1", "at least 2"),
    "no burst": (lambda d: d["idc"].update(api_replicas_burst=3), "idc.api_replicas_burst: 3",
        "other site's load"),
    "no room": (lambda d: d["idc"].update(api_replicas_max=3), "idc.api_replicas_max: 3", "at least 4"),
    "few nodes": (
        lambda d: d.update(cloud_cluster={"work_nodes_min": 1}), "cloud_cluster.work_nodes_min: 1",
            "zones <=",
    ),
    "short audit": (lambda d: d.update(audit_days=90), "audit_days: 90", "at least 180"),
    "no retention": (lambda d: d.update(backup_days=0), "backup_days: 0", "1 day"),
    "no admins": (lambda d: d.update(admin_networks=[]), "admin_networks: none", "bastion"),
    "admins everywhere": (
        lambda d: d.update(admin_networks=["0.0.0.0/0"]), "admin_networks.0: 0.0.0.0/0 is open",
            "/16 or smaller",
    ),
    "admins nowhere": (lambda d: d.update(admin_networks=["here"]), "'here' is no network", "10.9.0.0/24"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_must_not_be_built_is_refused_with_its_setting_and_a_way_out(name: str) -> None:
    change, setting, way_out = CHANGES[name]
    assert any(setting in line and way_out in line for line in _refusals(change)), _refusals(change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["cloud"].update(colour="blue"), "cloud.colour: no such setting; remove it"),
        (lambda d: d.update(purchasing={}), "purchasing: no such setting"),
        (lambda d: d["link"]["circuits"][0].update(speed=1), "link.circuits.0.speed: no such setting"),
        (lambda d: d["idc"].pop("entrance"), "idc.entrance: is missing"),
        (lambda d: d["cells"][0].update(home="moon"), "cells.0.home: found 'moon'"),
        (lambda d: d["cells"][0].update(name="A-b"), "cells.0.name: found 'A-b'"),
    ],
)
def test_what_is_no_setting_is_refused_with_its_path(change: Change, told: str) -> None:
    document = example()
    change(document)
    with pytest.raises(SettingsRefused) as refused:
        _read(document)
    assert told in str(refused.value)
    assert str(refused.value).startswith("topology.yaml: ")


def test_what_is_no_yaml_is_refused() -> None:
    with pytest.raises(SettingsRefused, match="cannot be read as YAML"):
        parse_settings("a: [", "topology.yaml")


NETWORKS = [f"{s}.{k}" for s in ("idc", "cloud") for k in ("nodes", "pods", "services", "addresses")]


@given(
    first=st.sampled_from(NETWORKS), second=st.sampled_from(NETWORKS), host=st.integers(0, 2**24 - 1),
    bits=st.integers(0, 8),
)  # fmt: skip
@settings(max_examples=40)  # each reads a whole document
def test_any_two_networks_that_share_an_address_are_refused(
    first: str, second: str, host: int, bits: int
) -> None:
    wide = ipaddress.ip_network((10 * 2**24 + host, 20), strict=False)
    part = next(wide.subnets(prefixlen_diff=bits)) if bits else wide
    document = example()
    for name, network in ((first, wide), (second, part)):
        site, kind = name.split(".")
        document[site]["networks"][kind] = str(network)
    found = [str(refusal) for refusal in check_topology(_read(document))]
    assert first == second or any("overlaps" in line and ".networks." in line for line in found)


def test_every_copy_has_a_name_and_an_address_of_its_own_inside_its_site() -> None:
    settings = parse_settings(EXAMPLE.read_text(encoding="utf-8"), str(EXAMPLE))
    topology = plan_topology(settings)
    assert [copy.place for copy in topology.copies] == [
        "a-idc-0", "a-cloud-0", "a-idc-1", "b-cloud-0", "b-idc-0", "b-cloud-1",
    ]  # fmt: skip
    addresses = topology.addresses()
    assert len(set(addresses.values())) == len(addresses) == 6 + 3 + 2
    for copy in topology.copies:
        pool = ipaddress.ip_network(settings.site(copy.site).networks.addresses)
        assert ipaddress.ip_address(copy.address) in pool
        assert addresses[copy.host] == copy.address
