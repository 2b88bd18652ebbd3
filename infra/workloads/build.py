"""Stacks `workloads-idc` and `workloads-cloud`: everything of one data site, into that site's own cluster."""

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_alicloud import cs

from infra.outputs import AckOutputs, WorkloadsOutputs
from infra.settings import DataSiteName
from infra.topology import Topology
from infra.workloads.borders import build_borders, build_namespace
from infra.workloads.copies import Ground, build_copies
from infra.workloads.notary import build_notary
from infra.workloads.services import build_services
from infra.workloads.steward import build_steward
from infra.workloads.timetable import build_timetable
from infra.workloads.votes import build_vote


def build_workloads(
    topology: Topology, site: DataSiteName, provider: kubernetes.Provider, parent: pulumi.Resource
) -> WorkloadsOutputs:
    """Create the site's workloads in the cluster of `provider`."""
    bare = pulumi.ResourceOptions(parent=parent, provider=provider)
    namespace = build_namespace(Ground(topology, site, bare))
    inside = pulumi.ResourceOptions.merge(bare, pulumi.ResourceOptions(depends_on=[namespace]))
    ground = Ground(topology, site, inside)
    build_borders(ground)
    build_services(ground)
    build_vote(ground)
    build_notary(ground)
    build_steward(ground)
    build_timetable(ground)
    places = build_copies(ground)
    return WorkloadsOutputs(
        namespace=pulumi.Output.from_input("biyi"), copies=pulumi.Output.from_input(places)
    )


def open_cluster(topology: Topology, site: DataSiteName, ack: AckOutputs | None) -> kubernetes.Provider:
    """Return the provider of the site's cluster: by kubeconfig context, else the one that stack `ack` made.

    A site that cannot be reached fails its own stack, and only that: with `skip_update_unreachable` an `up`
    would end well and have done nothing. `delete_unreachable` stays off: its copies are not gone.
    """
    cluster = topology.settings.site(site).cluster
    kubeconfig: pulumi.Input[str] | None = cluster.kubeconfig
    if cluster.context is None and ack is not None:
        credential = cs.get_cluster_credential_output(
            cluster_id=ack.cluster_id, temporary_duration_minutes=60
        )
        kubeconfig = pulumi.Output.secret(credential.kube_config)
    return kubernetes.Provider(
        site,
        context=cluster.context,
        kubeconfig=kubeconfig,
        enable_server_side_apply=True,
        skip_update_unreachable=False,
        delete_unreachable=False,
        suppress_helm_hook_warnings=True,
    )
