"""Pages of what commands said: keys, backups, deployments, audit trail, Level 3, the metric board, filings.

Each page shows the newest reading, of when it is, and follows the next one by itself.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from compliance.controls.catalogue import read_catalogue
from runbooks.console.entrance import Person
from runbooks.console.figures import COMMANDS, GROUPS, find_alerts, make_figures
from runbooks.console.frame import console_of, find_unseen, posted, show_page, signed_in
from runbooks.console.insight import COMMANDS as INSIGHT
from runbooks.console.insight import make_fired, make_metrics, make_tasks
from runbooks.console.packs import find_evidence, read_board
from runbooks.console.readings import Commands, Reading
from runbooks.console.rights import find_section
from runbooks.console.view import FRESH_SECONDS as FRESH_LOOK_SECONDS

FRESH_SECONDS = 60.0
"""A reading this old is read anew while somebody looks. Source: our choice; it costs a busy second."""
_NEVER = float("inf")
_ID = re.compile(r"[a-z0-9-]{1,60}")
_MOST_TYPED = 80
KEYS: Commands = (("keys", "status", "--json"),)
BACKUPS: Commands = (("backup", "status", "--json"), ("backup", "list", "--json"))
NOTARIES: Commands = (("audit", "status", "--json"),)
FILINGS: Commands = (("report", "status", "--json"),)
PROBES: Commands = (("controls", "run", "--json"),)
Values = Callable[[Request], Awaitable[Mapping[str, Any]]]


def _look(request: Request, commands: Commands, fresh_seconds: float = FRESH_SECONDS) -> Reading:
    """Return the newest reading; one that was begun while a site still passed for seen is not fresh."""
    console = console_of(request)
    if fresh_seconds < _NEVER:
        now = console.read_now()
        known = [(now - one.since).total_seconds() - FRESH_LOOK_SECONDS for one in find_unseen(request)]
        fresh_seconds = max(0.0, min([fresh_seconds, *known]))
    return console.readings.look(commands, fresh_seconds)


async def read_keys(request: Request) -> Mapping[str, Any]:
    """Return key versions, the rows under them, how often each was used."""
    return {"readings": [_look(request, KEYS)]}


async def read_backups(request: Request) -> Mapping[str, Any]:
    """Return each archive's state and what is stored."""
    return {"readings": [_look(request, BACKUPS)]}


async def read_filings(request: Request) -> Mapping[str, Any]:
    """Return every batch with its receipt."""
    return {"readings": [_look(request, FILINGS)]}


async def read_batch(request: Request) -> Mapping[str, Any]:
    """Return one batch and what the regulator found."""
    batch: str = request.path_params["batch"]
    if not _ID.fullmatch(batch):
        raise HTTPException(404)
    feedback: Commands = (("report", "feedback", batch, "--json"),)
    return {"readings": [_look(request, FILINGS), _look(request, feedback)], "batch": batch}


async def read_figures(request: Request) -> Mapping[str, Any]:
    """Return the board: figures by group, the catalogue of metrics, what somebody has to look at."""
    readings = [_look(request, COMMANDS), _look(request, INSIGHT)]
    plain, insight = _plain(readings[0], COMMANDS), _plain(readings[1], INSIGHT)
    figures = make_figures(plain)
    grouped = {name: [one for one in figures if one.group == name] for name in GROUPS}
    asked = [
        pair
        for commands, reading in zip((COMMANDS, INSIGHT), readings, strict=True)
        for pair in zip(commands, reading.answers or (), strict=False)
    ]
    run, check, tasks = insight
    return {
        "readings": readings,
        "groups": grouped,
        "alerts": find_alerts(figures),
        "fired": make_fired(run, check),
        "metrics": make_metrics(run, check),
        "tasks": make_tasks(run, tasks),
        "told_tasks": tasks is not None,
        "silent": [" ".join(words) for words, one in asked if not one.seen],
    }


def _plain(reading: Reading, commands: Commands) -> list[Any]:
    """Return what each command said, None for one that said nothing or was not asked yet."""
    return [one.plain for one in reading.answers or ()] or [None] * len(commands)


async def read_trail(request: Request) -> Mapping[str, Any]:
    """Return the notaries' state, the newest verification, and the entries that were searched for."""
    query = request.query_params
    typed = {name: query.get(name, "").strip()[:_MOST_TYPED] for name in ("text", "actor", "what")}
    words = ["audit", "search", "--json", "--limit=100"]
    words += [f"--{name}={typed[name]}" for name in ("actor", "what") if typed[name]]
    search: Commands = ((*words, "--", typed["text"]),)
    verified = _look(request, _verification(request), _NEVER)
    readings = [_look(request, NOTARIES), _look(request, search), verified]
    return {"readings": readings, "typed": typed, "query": request.url.query}


def _verification(request: Request) -> Commands:
    file = str(console_of(request).home / "console" / "trail.audit")
    return (
        ("audit", "export", file, "--site", str(console_of(request).site), "--json"),
        ("audit", "verify", file, "--workers", "1", "--json"),
    )


async def post_verify(request: Request, _person: Person, _fields: Mapping[str, str]) -> Response:
    """Export the trail and verify the export now."""
    (console_of(request).home / "console").mkdir(mode=0o700, exist_ok=True)
    _look(request, _verification(request), 0)
    return RedirectResponse("/trail", 303)


async def read_level3(request: Request) -> Mapping[str, Any]:
    """Return the newest pack's outcomes, item by item."""
    home = console_of(request).home
    keys = home / "keys" / "audit-public.json"
    board = await asyncio.to_thread(read_board, home / "controls", keys)
    return {"readings": [_look(request, PROBES, _NEVER)], "board": board, "catalogue": read_catalogue()}


async def read_item(request: Request) -> Mapping[str, Any]:
    """Return one item with the evidence behind its state."""
    values, item = await read_level3(request), request.path_params["item"]
    board = values["board"]
    if board is None or item not in board.outcomes or item not in board.catalogue.items:
        raise HTTPException(404)
    return {**values, "readings": [], "item": board.catalogue.items[item], "outcome": board.outcomes[item],
            "evidence": find_evidence(board, item)}  # fmt: skip


async def post_probe(request: Request, _person: Person, _fields: Mapping[str, str]) -> Response:
    """Ask every probe on both sites now."""
    _look(request, PROBES, 0)
    return RedirectResponse("/level3", 303)


async def read_deployments(request: Request) -> Mapping[str, Any]:
    """Return the states of stacks that `biyi deploy` kept, the newest first."""
    return {
        "readings": [],
        "states": await asyncio.to_thread(find_states, console_of(request).home / "deploy"),
    }


def find_states(folder: Path) -> list[dict[str, Any]]:
    """Return each kept state: stack, instant, how many resources it holds; never their contents."""
    found = []
    for path in sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True):
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            resources = len(plain.get("deployment", plain).get("resources", []))
        except (ValueError, AttributeError):
            resources = None
        found.append({"name": path.stem, "resources": resources, "bytes": path.stat().st_size})
    return found


_PAGES: Mapping[str, tuple[str, Values]] = {
    "/keys": ("keys", read_keys),
    "/backups": ("backups", read_backups),
    "/deployments": ("deployments", read_deployments),
    "/trail": ("trail", read_trail),
    "/level3": ("level3", read_level3),
    "/level3/items/{item}": ("level3_item", read_item),
    "/board": ("board", read_figures),
    "/filings": ("filings", read_filings),
    "/filings/batches/{batch}": ("batch", read_batch),
}
"""Path -> name of the template, and what fills it."""
_FORMS = frozenset({"trail", "level3"})
"""Pages with forms, which stand outside of what is renewed by itself."""


def _page(name: str, values: Values) -> Callable[[Request, Person], Awaitable[Response]]:
    async def show(request: Request, person: Person) -> Response:
        return show_page(
            request, "reading.html", person=person, **_shown(name, await values(request), request)
        )

    return show


def _part(name: str, values: Values) -> Callable[[Request, Person], Awaitable[Response]]:
    async def show(request: Request, person: Person) -> Response:
        return show_page(
            request, "_reading.html", person=person, **_shown(name, await values(request), request)
        )

    return show


def _shown(name: str, values: Mapping[str, Any], request: Request) -> dict[str, Any]:
    path = request.url.path.removesuffix("/part")
    query = f"?{request.url.query}" if request.url.query else ""
    section = find_section(path)
    return {
        **values, "part": f"_{name}.html", "forms": f"_{name}_forms.html" if name in _FORMS else None,
        "part_path": f"{path}/part{query}", "busy": any(one.busy for one in values["readings"]),
        "follows": name == "board", "path": path, "section": section.name if section else "",
    }  # fmt: skip


ROUTES = [
    *(Route(path, signed_in(_page(name, values))) for path, (name, values) in _PAGES.items()),
    *(
        Route(f"{path}/part", signed_in(_part(name, values), uses=False))
        for path, (name, values) in _PAGES.items()
    ),
    Route("/trail/verifications", posted(post_verify), methods=["POST"]),
    Route("/level3/runs", posted(post_probe), methods=["POST"]),
]
