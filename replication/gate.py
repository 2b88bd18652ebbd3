"""Which holders of certificates an HTTP face of ours lets in: some may ask, the operator may change."""

from collections.abc import Set
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from replication.tls import OPERATOR, PROMETHEUS, Identity, holder_of, kind_of

METRICS: Final = "/metrics"
"""All that `PROMETHEUS` may ask."""
_ASKING = ("GET", "HEAD")


def admit_only(
    identity: Identity, asking: Set[str], changing: Set[str] = frozenset({OPERATOR})
) -> tuple[Middleware, ...]:
    """Return the middleware that answers 403 to whoever is neither in `asking` nor `changing` (kinds).

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
        if kind_of(holder) in admitted(request):
            return await handler(request)
        why = f"{holder or 'nobody'} may not {request.method} {request.path} at {identity.name}"
        return web.json_response({"outcome": "refused", "why": why}, status=403)

    return (gate,)
