"""What a cluster's API server says of a site: drift from the approved manifests, open ports, images.

Takes the place of those probes of a stand that look at one machine. What nobody outside the pods can read is
refused with the reason: unknown, never this machine's own answer. Databases are asked where their passwords
are.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from compliance.audit.digest import compute_sm3
from compliance.controls import cells, workloads
from compliance.controls.ground import Facts, Ground, SiteGround, SiteProbe, Workloads
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


async def read_replication(ground: Ground, site: SiteGround) -> Facts:
    """Read what the site's steward tells of the cells: as its agents say, and lately.

    Sync copies are told of; one more copy beside a primary is not. What the stewards of both sites say of a
    cell in one epoch has to be the same: somebody may have written there by hand.
    """
    name, now = str(site.settings.site), ground.read_now()
    here = cells.read_told(await _seen(site).list("Cell"), site.settings.cells, now)
    for other, its in ground.sites.items():
        if other != name and its.workloads is not None:
            cells.compare_told(here, await its.workloads.list("Cell"), other)
    return cells.sum_told(here, site.settings)


def not_from_outside(why: str) -> Callable[..., Awaitable[Facts]]:
    """Return a probe that asks nothing and says why: this machine would answer for itself, and green."""

    async def refuse(_: Ground, __: SiteGround | None = None) -> Facts:
        raise ConnectionError(f"not read from outside the cluster: {why}")

    return refuse


def where_passwords_are(probe: SiteProbe) -> SiteProbe:
    """Return a probe of databases that is asked only where the site's passwords are: in a pod of the site."""

    async def ask(ground: Ground, site: SiteGround) -> Facts:
        if not site.settings.passfile.exists():
            raise ConnectionError(
                f"not read from outside the cluster: databases let in who has {site.settings.passfile}; "
                "ask in a pod of the site"
            )
        return await probe(ground, site)

    return ask


def _seen(site: SiteGround) -> Workloads:
    if site.workloads is None:
        raise ConnectionError("no API server was named for the site")
    return site.workloads


def _approved(ground: Ground, site: SiteGround) -> Sequence[Any]:
    manifests: dict[str, list[Any]] = json.loads(ground.baseline.read_bytes())
    return manifests[str(site.settings.site)]
