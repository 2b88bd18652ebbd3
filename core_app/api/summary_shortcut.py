"""The read that borrowers' apps poll, answered without what the framework does for every route.

A channel that asks for a loan's summary, plainly, and whose answer is warm, gets it here. Everything else
goes on to the route (`routes.get_loan_summary`): other callers, other parameters, a loan that is not warm, a
token that is refused.
"""

import functools
import json
import re
import time
from collections.abc import Callable

from fastapi.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from compliance.access.bearer import Claims, read_bearer
from compliance.access.roles import Party
from core_app.api.guard import declared_for
from core_app.core import LendingCore
from core_app.ids import Letter
from core_app.read_models.read import Cache, Summary, read_warm_summary

_PATH = re.compile(r"/v1/loans/([A-Za-z0-9-]{1,64})/summary")
_AUTHORIZATION = b"authorization"
_SCHEME = b"Bearer "
TOKENS = 1024
"""Channels' tokens whose signature was found good lately. Source: our choice; a channel has one a day."""


def answer_summary(summary: Summary) -> Response:
    """Return a summary as both ways answer it."""
    headers = {
        "Biyi-Cell": summary.cell,
        "Biyi-Epoch": str(summary.epoch),
        "Age": str(summary.body["age_ms"] // 1000),
    }
    content = json.dumps(summary.body, sort_keys=True, separators=(",", ":"))
    return Response(content, 200, headers, media_type="application/json")


class SummaryShortcut:
    """An ASGI layer in front of the routes; `route` is the one it is a shorter way to."""

    def __init__(self, app: ASGIApp, core: LendingCore, cache: Cache, route: Route) -> None:
        self._app = app
        self._core = core
        self._cache = cache
        self._route = route
        declared = declared_for(route.endpoint)
        self._open = declared is not None and Party.CHANNEL in declared.callers
        self._read_claims: Callable[[str], Claims | None] = functools.lru_cache(TOKENS)(
            lambda token: read_bearer(core.vault.request_digest, token, 0.0)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        summary = None
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            asked = _PATH.fullmatch(scope["path"])
            if asked is not None and self._admits(scope):
                summary = await self._read(asked[1])
        if summary is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route  # what the figures count it under
        await answer_summary(summary)(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        words = [value for name, value in scope["headers"] if name == _AUTHORIZATION]
        if not self._open or len(words) != 1 or not words[0].startswith(_SCHEME):
            return False
        claims = self._read_claims(words[0].removeprefix(_SCHEME).decode("latin-1"))
        return claims is not None and claims.party is Party.CHANNEL and time.time() < claims.until_s

    async def _read(self, loan_id: str) -> Summary | None:
        cell = self._core.cell_of_id(Letter.LOAN, loan_id)
        return None if cell is None else await read_warm_summary(self._cache, cell, loan_id)
