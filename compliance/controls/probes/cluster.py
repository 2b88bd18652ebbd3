"""What a cluster's API server says of a site: drift from the approved manifests, open ports, images.

Takes the place of those probes of a stand that look at processes and packages of one machine; the databases,
people and the trail are asked by the same probes as at a stand.
"""

import json
from collections.abc import Sequence
from typing import Any

from compliance.audit.digest import compute_sm3
from compliance.controls import workloads
from compliance.controls.ground import Facts, Ground, SiteGround, Workloads
from compliance.controls.readings import canonical


async def read_baseline(ground: Ground, site: SiteGround) -> Facts:
    """Compare what runs with the manifests that two people approved."""
    seen = _seen(site)
    live = {kind: await seen.list(kind) for kind in workloads.COMPARED}
    content = ground.baseline.read_bytes()
    approved_sm3 = await ground.approved_baseline_sm3()
    names = {kind: sorted(one["metadata"]["name"] for one in found) for kind, found in live.items()}
    facts: Facts = {"objects": names, "approved_sm3": approved_sm3}
    if approved_sm3 is None:
        return facts
    if compute_sm3(content).hex() != approved_sm3:
        return facts | {"drift": ["the file of the baseline is not the approved one"]}
    return facts | {"drift": workloads.find_drift(_approved(ground, site), live)}


async def read_ports(ground: Ground, site: SiteGround) -> Facts:
    """Compare what pods and services open with the manifests; look for the policy that denies the rest."""
    seen, allowed = _seen(site), workloads.list_allowed(_approved(ground, site))
    listening = workloads.list_listening(await seen.list("Pod"), await seen.list("Service"))
    unlisted = sorted(f"{where}:{port} ({whose})" for where, port, whose in listening
                      if (where, port) not in allowed)  # fmt: skip
    if not workloads.denies_by_default(await seen.list("NetworkPolicy")):
        unlisted.append("no policy denies what is not listed")
    beyond = sorted(f"{where}:{port} ({whose})" for where, port, whose in listening
                    if where not in ("pod", "service"))  # fmt: skip
    return {"listening": len(listening), "unlisted": unlisted, "beyond_cluster": beyond}


async def read_software(ground: Ground) -> Facts:
    """Compare the images that both sites run with those that were approved, by digest."""
    seen, odd = 0, []
    for name, site in sorted(ground.sites.items()):
        count, found = workloads.find_unpinned(_approved(ground, site), await _seen(site).list("Pod"))
        seen += count
        odd += [f"{name}: {one}" for one in found]
        if not count:
            raise ConnectionError(f"{name}: no pod runs: there is no image to compare")
    digest = compute_sm3(canonical(sorted(odd))).hex()
    return {"by_digest": True, "containers": seen, "altered": odd, "findings_sm3": digest}


async def ask_inside(_: Ground, __: SiteGround | None = None) -> Facts:
    """Refuse to take this machine's files and programs for a cluster's: what pods hold is read in pods."""
    raise ConnectionError("files and programs of pods are not read from outside the cluster")


def _seen(site: SiteGround) -> Workloads:
    if site.workloads is None:
        raise ConnectionError("no API server was named for the site")
    return site.workloads


def _approved(ground: Ground, site: SiteGround) -> Sequence[Any]:
    manifests: dict[str, list[Any]] = json.loads(ground.baseline.read_bytes())
    return manifests[str(site.settings.site)]
