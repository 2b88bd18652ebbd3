"""Whether what the cluster shall hold may be written over what it holds. Pure.

Two guards, as several stewards may write at once and each may have slept: a write names the resourceVersion
it was planned on (the API server answers 409 when that is old), and what was written for a later epoch stays.
"""

import copy
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from replication.platform.objects import EPOCH, ROLE, Document

FIGURES_EVERY = timedelta(seconds=10)
"""How old a status may grow while only its figures change. Source: our choice; each write is one revision of
the cluster's own etcd."""
_FIGURES = ("seenAt", "lagBytes", "exposedBytes")


class Verb(enum.StrEnum):
    """What to do with one object."""

    KEEP = "keep"
    CREATE = "create"
    REPLACE = "replace"
    STATUS = "status"
    """Replace the status alone."""
    PATCH = "patch"
    """Merge the body into the object, unless it changed since."""
    REFUSE = "refuse"
    """Somebody wrote for a later epoch: what this steward knows is old."""


@dataclass(frozen=True, slots=True)
class Write:
    """One planned write; `body` carries the resourceVersion it was planned on, but for CREATE."""

    verb: Verb
    body: Document | None = None


KEEP, REFUSE = Write(Verb.KEEP), Write(Verb.REFUSE)


def plan_slice(current: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Write:
    """Plan one EndpointSlice; what a person changed in it is put right again."""
    if current is None:
        return Write(Verb.CREATE, copy.deepcopy(dict(wanted)))
    if _epoch(current["metadata"].get("annotations")) > _epoch(wanted["metadata"]["annotations"]):
        return REFUSE
    if _says(current, wanted):
        return KEEP
    body = copy.deepcopy(dict(wanted))
    body["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
    return Write(Verb.REPLACE, body)


def plan_pod(current: Mapping[str, Any] | None, labels: Mapping[str, str]) -> Write:
    """Plan a copy's pod; a pod that is not there is not made."""
    if current is None:
        return KEEP
    held = current["metadata"].get("labels", {})
    if _epoch(held) > _epoch(labels):
        return REFUSE
    if all(held.get(key) == labels[key] for key in (ROLE, EPOCH)):
        return KEEP
    version = current["metadata"]["resourceVersion"]
    return Write(Verb.PATCH, {"metadata": {"labels": dict(labels), "resourceVersion": version}})


def plan_autoscaler(current: Mapping[str, Any], replicas: int) -> Write:
    """Plan the lower bound of the API's autoscaler; never above its upper bound."""
    bound = min(replicas, current["spec"]["maxReplicas"])
    if current["spec"].get("minReplicas", 1) == bound:
        return KEEP
    version = current["metadata"]["resourceVersion"]
    return Write(Verb.PATCH, {"metadata": {"resourceVersion": version}, "spec": {"minReplicas": bound}})


def plan_object(current: Mapping[str, Any] | None, wanted: Mapping[str, Any], at: datetime) -> Write:
    """Plan a `Cell` or `Site`: made first, then its specification, then its status, a write a round."""
    if current is None:
        return Write(Verb.CREATE, {key: value for key, value in wanted.items() if key != "status"})
    held = current.get("status", {})
    if held.get("epoch", 0) > wanted["status"].get("epoch", 0):
        return REFUSE
    head = {key: current["metadata"][key] for key in ("name", "resourceVersion")}
    if current.get("spec", {}) != wanted["spec"]:
        return Write(Verb.REPLACE, {"metadata": head, "spec": wanted["spec"]})
    status = {**wanted["status"], "seenAt": at.isoformat()}
    status["conditions"] = _dated(held.get("conditions", []), wanted["status"]["conditions"], at)
    if _without_figures(held) == _without_figures(status) and not _is_old(held, at):
        return KEEP
    return Write(Verb.STATUS, {"metadata": head, "spec": wanted["spec"], "status": status})


def _is_old(held: Mapping[str, Any], at: datetime) -> bool:
    return at - datetime.fromisoformat(held["seenAt"]) >= FIGURES_EVERY


def _without_figures(status: Mapping[str, Any]) -> Document:
    return {key: value for key, value in status.items() if key not in _FIGURES}


def _dated(held: Sequence[Mapping[str, Any]], wanted: Sequence[Document], at: datetime) -> list[Document]:
    """Return the conditions with the time at which each last changed between true, false and unknown."""
    since = {(one["type"], one["status"]): one["lastTransitionTime"] for one in held}
    return [
        {**one, "lastTransitionTime": since.get((one["type"], one["status"]), at.isoformat())}
        for one in wanted
    ]


def _epoch(marks: Mapping[str, str] | None) -> int:
    """Return the epoch something was written for; -1 where it says none, or what is no number."""
    text = (marks or {}).get(EPOCH, "")
    return int(text) if text.isdecimal() else -1


def _says(current: object, wanted: object) -> bool:
    """Say whether `current` has everything of `wanted`; what the API server adds does not count."""
    match wanted:
        case Mapping():
            return isinstance(current, Mapping) and all(
                key in current and _says(current[key], value) for key, value in wanted.items()
            )
        case list():
            return (
                isinstance(current, list)
                and len(current) == len(wanted)
                and all(_says(*pair) for pair in zip(current, wanted, strict=True))
            )
    return current == wanted
