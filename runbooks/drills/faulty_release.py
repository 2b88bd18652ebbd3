"""A release of the API with a defect, for the drill `grey-release` only: some writes are answered with 500.

Started as the API is (`python -m runbooks.drills.faulty_release --settings ...`); never part of an image's
own command. What it answers with 500 never reached the core.
"""

import itertools
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core_app.api import __main__ as api
from core_app.api.app import make_app

EVERY = 4
"""One write in so many fails. Source: our choice; a defect of one product among several."""


class Defect:
    """Answers one write in `EVERY` with 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._writes = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or fail it."""
        if scope["type"] == "http" and scope["method"] == "POST" and next(self._writes) % EVERY == 0:
            answer = JSONResponse({"title": "A defect of this release"}, status_code=500)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def main() -> None:
    """Serve the API with the defect."""

    def make_faulty(*parts: Any, **more: Any) -> Any:
        app = make_app(*parts, **more)
        app.add_middleware(Defect)
        return app

    setattr(api, "make_app", make_faulty)  # noqa: B010 - the module's own name, not one it offers
    api.main()


if __name__ == "__main__":
    main()
