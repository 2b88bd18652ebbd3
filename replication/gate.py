"""Which holders of certificates an HTTP face of ours lets in: some may ask, the operator may change."""

from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from replication.tls import OPERATOR, PROMETHEUS, Identity, holder_of, kind_of

METRICS: Final = "/metrics"
"""All that `PROMETHEUS` may ask."""
_ASKING = ("GET", "HEAD")


def admit_only(
    identity: Identity,
    asking: Set[str],
    changing: Set[str] = frozenset({OPERATOR}),
    only: Mapping[str, Set[str]] = MappingProxyType({}),
) -> tuple[Middleware, ...]:
    """Return the middleware that answers 403 to whoever is neither in `asking` nor `changing` (kinds).

    `only` narrows what a kind may ask to the paths its work needs; one that is not in it may ask all. Kinds
    stand for places too: the authority gives each place the kinds that have work there, and no other.
    None for a plain identity: then nobody can be told from anybody, and the face is for tests only.
    """
    if identity.directory is None:
        return ()

    def admitted(request: web.Request) -> Set[str]:
        if request.method not in _ASKING:
            return changing
        return asking | {PROMETHEUS} if request.path == METRICS else asking

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        holder = holder_of(transport.get_extra_info("peercert")) if transport is not None else ""
        kind = kind_of(holder)
        if kind in admitted(request) and request.path in only.get(kind, {request.path}):
            return await handler(request)
        why = f"{holder or 'nobody'} may not {request.method} {request.path} at {identity.name}"
        return web.json_response({"outcome": "refused", "why": why}, status=403)

    return (gate,)
