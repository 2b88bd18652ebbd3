"""What every route shares: the key's header, the problems it may answer with, a command in, an answer out."""

import json
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel

from core_app.api.problem import MEDIA_TYPE
from core_app.commands import KEY_NEEDED, KEY_PATTERN, Command, Done, is_key, make_command
from core_app.core import LendingCore


def _refuse_other(key: str) -> str:
    if not is_key(key):
        raise ValueError(KEY_NEEDED)
    return key


IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=KEY_PATTERN,
        description="Chosen by the client, new for each command. Repeating a request with the same key "
        "gives the stored answer; the same key with another body gives 409. Never made of an ID or mobile "
        "number: such a key is refused.",
        examples=["order-20261122-000001"],
    ),
    AfterValidator(_refuse_other),
]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of problem answers."""
    meanings = {
        400: "Malformed request: missing or bad Idempotency-Key, or a body that is no JSON.",
        404: "Not found.",
        409: "In conflict with what is recorded, or the key was used for another request.",
        413: "Body over 64 KiB.",
        422: "A field is not acceptable, or a rule forbids it; `errors` and `rules` say which. "
        "Nothing was recorded.",
        503: "The cell cannot be written or read now; `outcome` says whether anything was done.",
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}}
    return {status: {"description": meanings[status], "content": content} for status in statuses}


ON_WRITE = problems(400, 409, 413, 422, 503)
ON_READ = problems(404, 422, 503)


def created(model: type[BaseModel], *statuses: int) -> dict[str, Any]:
    """Return what a route of a command declares: 201 with its answer, and its problems, `statuses` too."""
    return {"status_code": 201, "responses": {201: {"model": model}, **problems(*statuses), **ON_WRITE}}


def registered(model: type[BaseModel]) -> dict[str, Any]:
    """Return the same for a command that answers 200 where what it makes was there before."""
    known = {"model": model, "description": "This person was registered before."}
    return {"status_code": 201, "responses": {201: {"model": model}, 200: known, **ON_WRITE}}


def shown(model: type[BaseModel]) -> dict[str, Any]:
    """Return what a route that shows something declares: 200 with its answer, and its problems."""
    return {"responses": {200: {"model": model}, **ON_READ}}


def core_of(request: Request) -> LendingCore:
    """Return the core that the application was made around."""
    core: LendingCore = request.app.state.core
    return core


def command_of(core: LendingCore, key: str, kind: str, body: Any) -> Command:
    """Return the command of a checked body."""
    # Without defaults: a field that was added later leaves the digest of older requests as it was.
    return make_command(core, key, kind, body.model_dump(mode="json", exclude_defaults=True))


def respond(done: Done) -> Response:
    """Return a service's answer, with the headers that say where it was committed."""
    answer = done.answer
    headers = {"Biyi-Cell": done.cell, "Biyi-Epoch": str(answer.epoch)}
    if answer.replayed:
        headers["Biyi-Replayed"] = "true"
    # Sorted, so that a stored answer is repeated byte for byte.
    content = json.dumps(answer.body, sort_keys=True, separators=(",", ":"))
    return Response(content, answer.status, headers, media_type="application/json")
