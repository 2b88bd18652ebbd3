"""The API server of the own site, through the official client (`kubernetes.aio`).

Objects go in and out as plain documents. Every call is bounded in time; what it raises is one of two:
`Conflict`, look again, or `ClusterUnavailable`, nothing is known. Neither is an error of ours.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException, OpenApiException

from replication.platform.objects import MANAGER
from replication.platform.writes import Verb, Write

CALL_SECONDS = 5.0
"""Patience with one call. Source: our choice; a healthy API server answers in under 1 s (its own SLO)."""
WATCH_SECONDS = 60
"""How long one watch may run before it is begun anew. Source: our choice; a connection that died without a
word is noticed by then."""
CONFLICT, NOT_FOUND, GONE = 409, 404, 410


class ClusterUnavailable(Exception):
    """The API server did not answer, or would not do it; the message says which call and why."""


class Conflict(Exception):
    """The object changed, appeared or went since it was read, or the watch's beginning is too old."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object by its place in the API: `/apis/discovery.k8s.io/v1`, `endpointslices`."""

    prefix: str
    plural: str
    selector: str = ""
    """Labels that those have which are looked at."""


PODS = Kind("/api/v1", "pods", "app.kubernetes.io/component=copy")
SLICES = Kind("/apis/discovery.k8s.io/v1", "endpointslices")
AUTOSCALERS = Kind("/apis/autoscaling/v2", "horizontalpodautoscalers")
CELLS = Kind("/apis/biyi.io/v1", "cells")
SITES = Kind("/apis/biyi.io/v1", "sites")
DRILLS = Kind("/apis/biyi.io/v1", "drills")


class Cluster(Protocol):
    """What the steward needs of an API server."""

    async def read(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """Return an object, None where there is none."""

    async def list(self, kind: Kind) -> tuple[list[dict[str, Any]], str]:
        """Return all objects of a kind, and the resourceVersion they were read at."""

    async def write(self, kind: Kind, name: str, write: Write) -> None:
        """Carry out a planned write; Conflict when the plan is old."""

    def watch(self, kind: Kind, version: str) -> AsyncIterator[None]:
        """Yield at each change after `version`; ends after a while. Conflict when that is too long ago."""


class KubernetesCluster:
    """One namespace behind one API server."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def read(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """Return an object, None where there is none."""
        try:
            return await self._call("GET", self._path(kind, name))
        except _NotThere:
            return None

    async def list(self, kind: Kind) -> tuple[list[dict[str, Any]], str]:
        """Return all objects of a kind, and the resourceVersion they were read at."""
        query = {"labelSelector": kind.selector} if kind.selector else {}
        found = await self._call("GET", self._path(kind), query=query)
        return found["items"], found["metadata"]["resourceVersion"]

    async def write(self, kind: Kind, name: str, write: Write) -> None:
        """Carry out a planned write; Conflict when the plan is old."""
        path = self._path(kind, name)
        match write.verb:
            case Verb.CREATE:
                await self._call("POST", self._path(kind), self._whole(kind, write.body))
            case Verb.REPLACE:
                await self._call("PUT", path, self._whole(kind, write.body))
            case Verb.STATUS:
                await self._call("PUT", path + "/status", self._whole(kind, write.body))
            case Verb.PATCH:
                await self._call("PATCH", path, dict(write.body or {}))

    async def watch(self, kind: Kind, version: str) -> AsyncIterator[None]:
        """Yield at each change after `version`; ends after a while. Conflict when that is too long ago."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        try:
            async with asyncio.timeout(WATCH_SECONDS + CALL_SECONDS):
                asked = self._ask("GET", self._path(kind), query=query, seconds=WATCH_SECONDS * 2)
                async with await asked as answer:
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            told = event["object"]
                            raise _told(f"watch of {kind.plural}", told.get("code"), told)
                        yield
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterUnavailable(f"watch of {kind.plural}: {type(error).__name__}: {error}") from error

    def _path(self, kind: Kind, name: str | None = None) -> str:
        path = f"{kind.prefix}/namespaces/{self._namespace}/{kind.plural}"
        return path if name is None else f"{path}/{name}"

    def _whole(self, kind: Kind, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Add what every object of a kind has, so that plans need not."""
        whole = {"apiVersion": kind.prefix.removeprefix("/apis/"), "kind": _kind_name(kind), **(body or {})}
        whole["metadata"] = {"namespace": self._namespace, **whole["metadata"]}
        return whole

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                async with await self._ask(method, path, body, query=query) as answer:
                    found: dict[str, Any] = json.loads(await answer.read())
                    return found
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterUnavailable(f"{method} {path}: {type(error).__name__}: {error}") from error

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: dict[str, str] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> aiohttp.ClientResponse:
        query = dict(query or {}) | ({} if method == "GET" else {"fieldManager": MANAGER})
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            request = await self._client.param_serialize(
                method, path, query_params=list(query.items()), body=body, auth_settings=["BearerToken"],
                header_params={"Accept": "application/json", "Content-Type": kind},
            )  # fmt: skip
            answer = await self._client.call_api(*request, _request_timeout=seconds, _preload_content=False)
        except ApiException as error:
            raise _told(f"{method} {path}", error.status, {"message": error.reason}) from error
        except OpenApiException as error:
            raise ClusterUnavailable(f"{method} {path}: {error}") from error
        raw: aiohttp.ClientResponse = answer.response
        if raw.status >= 400:
            raise _told(f"{method} {path}", raw.status, await raw.json(content_type=None))
        return raw


class _NotThere(Conflict):
    """The object is not there: no news to who reads, an old plan to who writes."""


def _told(what: str, status: int | None, told: object) -> Exception:
    message = told.get("message") if isinstance(told, Mapping) else told
    if status == NOT_FOUND:
        return _NotThere(f"{what}: {message}")
    if status in (CONFLICT, GONE):
        return Conflict(f"{what}: {message}")
    return ClusterUnavailable(f"{what}: {status}: {message}")


def _kind_name(kind: Kind) -> str:
    return {SLICES: "EndpointSlice", CELLS: "Cell", SITES: "Site", DRILLS: "Drill"}[kind]


async def open_client(context: str | None = None, kubeconfig: str | None = None) -> ApiClient:
    """Return the official client, by the pod's own account or a kubeconfig; ClusterUnavailable if neither."""
    found = Configuration()
    try:
        if context is None and kubeconfig is None:
            config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, context=context, client_configuration=found
            )
    except config.ConfigException as error:
        raise ClusterUnavailable(f"no way to the API server: {error}") from error
    return ApiClient(found)
