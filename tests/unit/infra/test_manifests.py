"""What both sites' clusters are asked for: Kubernetes' own schema, and what a copy's pod must be."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest

from compliance.protection.ring_file import is_ring
from core_app.funding.settings import read_payer_settings
from core_app.settings import ApiSettings
from infra.components.witness import plan_boot
from infra.settings import parse_settings
from infra.topology import ZONE, plan_topology
from infra.workloads.documents import API_PORT, HEALTH_PORT, HOME, IDENTITY, TLS
from replication.agent import MOVE_SECONDS
from replication.backup.service import archived_places
from replication.platform.objects import slice_name
from replication.platform.settings import read_platform_settings
from replication.settings import TlsAddress, read_site_settings
from replication.transport import OWN, Transport, decide_transport
from runbooks.stand.certificates import ETCD_PEER
from tests.unit.infra.stage import EXAMPLE, Recorder, build, example

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema/v1.37.0-local-strict"
SITES = ("idc", "cloud")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorder]:
    return {site: build(f"workloads-{site}", example(), tmp_path_factory.mktemp(site)) for site in SITES}


@pytest.fixture(scope="module")
def registry() -> jsonschema_rs.Registry:
    definitions = json.loads((SCHEMAS / "_definitions.json").read_text())
    return jsonschema_rs.Registry([("schema:///_definitions.json", definitions)])


def validator(manifest: Mapping[str, Any], registry: jsonschema_rs.Registry) -> jsonschema_rs.Validator:
    """Return the strict schema (unknown fields are errors) of a manifest's kind."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    parts = [manifest["kind"].lower(), *([group.split(".")[0]] if group else []), version]
    schema = json.loads((SCHEMAS / f"{'-'.join(parts)}.json").read_text())
    return jsonschema_rs.validator_for(schema, registry=registry, base_uri="schema:///one.json")


def _errors(name: str, manifest: dict[str, Any], registry: jsonschema_rs.Registry) -> list[str]:
    errors = validator(manifest, registry).iter_errors(manifest)
    return [f"{name}: {error.instance_path}: {error.message[:200]}" for error in errors]


@pytest.mark.parametrize("site", SITES)
def test_every_manifest_is_valid_kubernetes(
    sites: dict[str, Recorder], registry: jsonschema_rs.Registry, site: str
) -> None:
    manifests = sites[site].manifests()
    found = [line for name, manifest in manifests.items() for line in _errors(name, manifest, registry)]
    assert len(manifests) == len(sites[site].registered) > 40
    assert found == []


def test_the_schema_refuses_a_field_that_kubernetes_does_not_know(
    sites: dict[str, Recorder], registry: jsonschema_rs.Registry
) -> None:
    deployment = json.loads(json.dumps(sites["idc"].named("Deployment", "api")))
    deployment["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(jsonschema_rs.ValidationError):
        validator(deployment, registry).validate(deployment)


@pytest.mark.parametrize("site", SITES)
def test_every_copy_has_a_pod_bound_to_its_zone_and_a_volume_that_stays(
    sites: dict[str, Recorder], site: str
) -> None:
    wanted = {
        "idc": {"a-idc-0": "room-1", "a-idc-1": "room-2", "b-idc-0": "room-2"},
        "cloud": {"a-cloud-0": "cn-shanghai-g", "b-cloud-0": "cn-shanghai-m", "b-cloud-1": "cn-shanghai-g"},
    }[site]
    sets = {
        name: spec["spec"]
        for name, spec in sites[site].all("StatefulSet").items()
        if name not in {"etcd", "notary"}
    }
    assert set(sets) == set(wanted)
    for name, spec in sets.items():
        affinity = spec["template"]["spec"]["affinity"]["nodeAffinity"]
        term = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]
        assert term["matchExpressions"][0]["values"] == [wanted[name]]
        assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
        claims = {one["metadata"]["name"]: one["spec"] for one in spec["volumeClaimTemplates"]}
        assert claims.keys() == ({"home", "archive"} if name.endswith("-0") else {"home"})
        assert all(one["accessModes"] == ["ReadWriteOncePod"] for one in claims.values())


@pytest.mark.parametrize("site", SITES)
def test_every_address_that_the_sites_look_up_is_a_service(sites: dict[str, Recorder], site: str) -> None:
    settings = parse_settings(EXAMPLE.read_text(encoding="utf-8"), str(EXAMPLE))
    named = {a for n, a in plan_topology(settings).addresses().items() if n.endswith(f"{site}.{ZONE}")}
    served = [spec["spec"].get("loadBalancerIP") for spec in sites[site].all("Service").values()]
    assert sorted(filter(None, served)) == sorted(named)


def test_a_fenced_copy_is_not_taken_for_a_dead_one(sites: dict[str, Recorder]) -> None:
    (agent,) = sites["idc"].named("StatefulSet", "a-idc-0")["spec"]["template"]["spec"]["containers"]
    assert agent["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert agent["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert agent["livenessProbe"]["periodSeconds"] * agent["livenessProbe"]["failureThreshold"] >= 20
    assert agent["lifecycle"]["preStop"]["exec"]["command"][:3] == ["python", "-m", "replication.leave"]


@pytest.mark.parametrize("site", SITES)
def test_each_pod_has_its_own_certificate_and_is_probed_where_none_is_asked_for(
    sites: dict[str, Recorder], site: str
) -> None:
    ours = {
        name: spec["spec"]["template"]["spec"]
        for kind in ("StatefulSet", "Deployment")
        for name, spec in sites[site].all(kind).items()
        if name not in {"etcd", "valkey"}
    }
    assert len(ours) == 3 + 6
    for name, spec in ours.items():
        wanted = {"agent", "operator"} if name[1] == "-" else {"operator"} if name == "steward" else {name}
        (tls,) = (volume for volume in spec["volumes"] if volume["name"] == "tls")
        given = [source["secret"]["name"] for source in tls["projected"]["sources"]]
        assert given == ["biyi-tls", *(f"biyi-tls-{holder}" for holder in sorted(wanted))]
        assert [one["name"] for one in spec["initContainers"]] == ["keys", "identity"]
        own = "agent" if name[1] == "-" else "operator" if name == "steward" else name
        (links,) = spec["initContainers"][1]["args"]
        assert f"{TLS}/{own}.key {IDENTITY}/{OWN}.key" in links, "what PostgreSQL's two ends show each other"
        (container,) = spec["containers"]
        port = API_PORT if name == "api" else HEALTH_PORT
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert (name, asked["scheme"], asked["port"]) == (name, "HTTPS", port)


@pytest.mark.parametrize("site", SITES)
def test_the_cache_speaks_mutual_tls_only_and_has_no_key_but_its_own(
    sites: dict[str, Recorder], site: str
) -> None:
    spec = sites[site].named("Deployment", "valkey")["spec"]["template"]["spec"]
    (command,) = spec["containers"][0]["args"]
    for word in ("--port 0 ", "--tls-port 6379 ", "--tls-auth-clients yes ", "--tls-protocols TLSv1.3 "):
        assert word in command
    found = {volume["name"]: volume for volume in spec["volumes"]}
    assert [item["key"] for item in found["secrets"]["secret"]["items"]] == ["valkey"]
    given = [source["secret"]["name"] for source in found["tls"]["projected"]["sources"]]
    assert given == ["biyi-tls", "biyi-tls-valkey"]


@pytest.mark.parametrize("site", SITES)
def test_a_member_of_etcd_has_no_face_without_a_certificate(sites: dict[str, Recorder], site: str) -> None:
    spec = sites[site].named("StatefulSet", "etcd")["spec"]["template"]["spec"]
    (member,) = spec["containers"]
    flags = dict(word.removeprefix("--").split("=", 1) for word in member["command"][1:])
    listening = {name: url for name, url in flags.items() if name.startswith("listen-")}
    assert listening.keys() == {"listen-client-urls", "listen-peer-urls", "listen-metrics-urls"}
    assert all(url.startswith("https://") and "," not in url for url in listening.values())
    assert {one["containerPort"] for one in member["ports"]} == {2379, 2380, 2381}
    assert flags["client-cert-auth"] == flags["peer-client-cert-auth"] == "true"
    assert flags["peer-cert-allowed-hostname"] == ETCD_PEER
    (tls,) = spec["volumes"]
    sources = [source["secret"]["name"] for source in tls["projected"]["sources"]]
    assert sources == ["biyi-tls", "biyi-tls-etcd"]
    held = {f"{TLS}/{name}" for name in ("ca.crt", "crl.pem", "etcd.crt", "etcd.key")}
    assert {path for path in flags.values() if path.startswith(TLS)} == held
    for probe in ("startupProbe", "livenessProbe"):  # neither may depend on the other members
        assert member[probe].keys() & {"httpGet", "exec", "tcpSocket"} == {"tcpSocket"}
    asked = member["readinessProbe"]["exec"]["command"]
    assert asked[:2] == ["etcdctl", "--endpoints=https://127.0.0.1:2379"]
    assert {word.split("=")[1] for word in asked if TLS in word} == held - {f"{TLS}/crl.pem"}


@pytest.mark.parametrize("site", SITES)
def test_only_members_reach_the_port_of_members_and_only_prometheus_that_of_figures(
    sites: dict[str, Recorder], site: str
) -> None:
    policies = {name: spec["spec"] for name, spec in sites[site].all("NetworkPolicy").items()}
    who: dict[int, list[Any]] = {2380: [], 2381: []}
    for spec in policies.values():
        for rule in spec.get("egress", []):
            for port in {port["port"] for port in rule["ports"]} & who.keys():
                who[port] += spec["podSelector"]["matchExpressions"][0]["values"]
    assert who == {2380: ["etcd"], 2381: []}
    into = [rule for spec in policies.values() for rule in spec.get("ingress", [])]
    (figures,) = [rule for rule in into if 2381 in {port["port"] for port in rule["ports"]}]
    (caller,) = figures["from"]
    assert caller["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}


def test_the_witness_asks_for_certificates_as_the_sites_do(sites: dict[str, Recorder]) -> None:
    boot = plan_boot(plan_topology(parse_settings(EXAMPLE.read_text(encoding="utf-8"), str(EXAMPLE))))
    (run,) = re.findall(r"ExecStart=.* etcd (--name=.*)", boot)
    flags = {word.split("=")[0]: word for word in run.split()}
    (member,) = sites["idc"].named("StatefulSet", "etcd")["spec"]["template"]["spec"]["containers"]
    same = {word for word in member["command"][1:] if re.search(r"cert|crl|key-file|-ca-|cipher", word)}
    assert len(same) == 12
    assert same <= set(flags.values())
    assert "--listen-metrics-urls" not in flags
    assert "http://" not in boot


@pytest.mark.parametrize("site", SITES)
def test_what_runs_at_its_time_has_its_certificate_and_may_reach_the_copies(
    sites: dict[str, Recorder], site: str
) -> None:
    templates = {
        "operator": sites[site].named("CronJob", "day-end")["spec"]["jobTemplate"]["spec"]["template"],
        "migrate": sites[site].named("Job", "migrate")["spec"]["template"],
    }
    out = sites[site].named("NetworkPolicy", "customers-of-copies-out")["spec"]["podSelector"]
    for holder, template in templates.items():
        (tls,) = (volume for volume in template["spec"]["volumes"] if volume["name"] == "tls")
        given = [source["secret"]["name"] for source in tls["projected"]["sources"]]
        assert given == ["biyi-tls", f"biyi-tls-{holder}"]
        assert template["spec"]["restartPolicy"] == "OnFailure"
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        assert component in out["matchExpressions"][0]["values"]


def test_a_pod_has_time_to_move_its_primary_away(sites: dict[str, Recorder]) -> None:
    spec = sites["idc"].named("StatefulSet", "a-idc-0")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= 2 * MOVE_SECONDS


def test_an_api_pod_has_time_to_finish_what_runs(sites: dict[str, Recorder]) -> None:
    spec = sites["idc"].named("Deployment", "api")["spec"]["template"]["spec"]
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pause + ApiSettings().grace_seconds


@pytest.mark.parametrize("site", SITES)
def test_the_processes_can_read_the_documents_they_are_given(
    sites: dict[str, Recorder], site: str, tmp_path: Path
) -> None:
    maps = {name: spec["data"] for name, spec in sites[site].all("ConfigMap").items()}
    platform_path = tmp_path / "platform.json"
    platform_path.write_text(maps.pop("platform-settings")["platform.json"])
    platform = read_platform_settings(platform_path)
    path = tmp_path / "site.json"
    for name, data in maps.items():
        path.write_text(data["site.json"])
        settings = read_site_settings(path)
        assert settings.site == site
        assert settings.listen_host == "0.0.0.0"
        assert str(settings.tls_dir) == IDENTITY
        assert settings.health_port == HEALTH_PORT
        assert all(url.startswith("https://") for url in settings.agent_urls.values())
        assert [cell.name for cell in settings.cells] == ["a", "b"]
        own = [place.name for place in settings.places if place.data_dir]
        assert own == ([] if name == "site-settings" else [name.removesuffix("-settings")])
        if own:
            settings.require_agent()
        assert {p.name: p.agent_url for p in settings.places} == platform.agents
        assert all(str(place.data_dir).startswith(HOME) for place in settings.places if place.data_dir)
        assert settings.valkey_address("api") == TlsAddress("valkey", 6379, Path(IDENTITY), "api")
        assert {decide_transport(place) for place in settings.places} == {Transport.TLS}
        assert is_ring(settings.key_file)
        kept = [place.name for place in archived_places(settings)] if settings.backup else []
        assert kept == [one for one in own if one.endswith("-0")]
        assert platform.addresses.keys() == platform.agents.keys() == {p.name for p in settings.places}
        assert settings.etcd_urls[0] == f"https://etcd.{site}.biyi.internal:2379"
    path.with_name("channels.json").write_text(maps["site-settings"]["channels.json"])
    assert read_payer_settings(path.with_name("channels.json")).status_port == 7200


@pytest.mark.parametrize("site", SITES)
def test_an_archive_is_on_a_volume_of_its_own_and_nothing_unpacked_stays(
    sites: dict[str, Recorder], site: str, tmp_path: Path
) -> None:
    maps = {name: spec["data"] for name, spec in sites[site].all("ConfigMap").items()}
    path = tmp_path / "site.json"
    for name, spec in sites[site].all("StatefulSet").items():
        if f"{name}-settings" not in maps:
            continue
        path.write_text(maps[f"{name}-settings"]["site.json"])
        backup = read_site_settings(path).backup
        if backup is None:
            assert name.endswith("-1")
            continue
        pod = spec["spec"]["template"]["spec"]
        (agent,) = pod["containers"]
        at = {mount["mountPath"]: mount["name"] for mount in agent["volumeMounts"]}
        claimed = {one["metadata"]["name"] for one in spec["spec"]["volumeClaimTemplates"]}
        assert at[str(backup.directory)] in claimed - {at[HOME]}
        passing = [one["name"] for one in pod["volumes"] if "ephemeral" in one]
        assert passing == [at[str(backup.staging.parent)]]


@pytest.mark.parametrize("site", SITES)
def test_every_pod_that_talks_may_and_no_other_does(sites: dict[str, Recorder], site: str) -> None:
    policies = {name: spec["spec"] for name, spec in sites[site].all("NetworkPolicy").items()}
    assert policies["deny-all"]["podSelector"] == {}
    into = policies["copies-in"]["ingress"][0]
    assert {port["port"] for port in into["ports"]} == {5432, 7000}
    assert {"ipBlock": {"cidr": "10.48.0.0/24"}} not in into["from"]
    everywhere = [
        name for name, spec in policies.items() for rule in spec.get("egress", [])
        for peer in rule["to"] if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]  # fmt: skip
    assert everywhere == ["partners-out"]
    assert {port["port"] for port in policies["partners-out"]["egress"][0]["ports"]} == {443}


@pytest.mark.parametrize("site", SITES)
def test_each_workload_is_chosen_by_its_service_and_budget(sites: dict[str, Recorder], site: str) -> None:
    recorder = sites[site]
    pods = [
        spec["spec"]["template"]["metadata"]["labels"]
        for kind in ("StatefulSet", "Deployment")
        for spec in recorder.all(kind).values()
    ]
    selectors = {
        f"service {name}": spec["spec"]["selector"]
        for name, spec in recorder.all("Service").items()
        if not name.startswith("cell-")
    }
    for name, spec in recorder.all("PodDisruptionBudget").items():
        selectors[f"budget {name}"] = spec["spec"]["selector"]["matchLabels"]
    for name, selector in selectors.items():
        assert any(selector.items() <= labels.items() for labels in pods), name


@pytest.mark.parametrize("site", SITES)
def test_an_up_waits_for_nobody_to_be_ready(sites: dict[str, Recorder], site: str) -> None:
    waited = [
        f"{kind} {name}"
        for kind in ("Deployment", "StatefulSet", "Service")
        for name, spec in sites[site].all(kind).items()
        if spec["metadata"].get("annotations", {}).get("pulumi.com/skipAwait") != "true"
    ]
    assert waited == []


@pytest.mark.parametrize("site", SITES)
def test_only_the_steward_may_ask_the_api_server(sites: dict[str, Recorder], site: str) -> None:
    mounted = [
        name
        for kind in ("Deployment", "StatefulSet")
        for name, spec in sites[site].all(kind).items()
        if spec["spec"]["template"]["spec"]["automountServiceAccountToken"]
    ]
    assert mounted == ["steward"]
    assert list(sites[site].all("RoleBinding")) == ["biyi-steward"]
    into = sites[site].named("NetworkPolicy", "stewards-tell-their-cluster")["spec"]["podSelector"]
    assert into["matchExpressions"][0]["values"] == ["steward"]


@pytest.mark.parametrize("site", SITES)
def test_a_cells_primary_is_a_service_that_the_steward_points(sites: dict[str, Recorder], site: str) -> None:
    found = {name: s["spec"] for name, s in sites[site].all("Service").items() if name.startswith("cell-")}
    assert list(found) == [slice_name("a"), slice_name("b")]
    assert all("selector" not in spec for spec in found.values())


def test_others_may_change_how_many_serve(sites: dict[str, Recorder]) -> None:
    hpa = sites["idc"].named("HorizontalPodAutoscaler", "api")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 12)
    metrics = [metric.get("pods", metric.get("external"))["metric"]["name"] for metric in hpa["metrics"]]
    assert metrics == ["biyi_api_requests_per_second", "biyi_outbox_age_seconds"]
    assert "replicas" not in sites["idc"].named("Deployment", "api")["spec"]
