"""Start a drill from the browser and watch it: first its plan, then the drill, each a command with a log.

The command itself asks for the second person and holds to the answer (`runbooks.drills.approval`); the
console hands it the session of whoever pressed the button, in its environment only.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from replication.model import DATA_SITES
from runbooks.console.drill_pages import find_books
from runbooks.console.entrance import Person
from runbooks.console.forms import read_token
from runbooks.console.frame import address_of, console_of, posted, show_page, signed_in
from runbooks.console.jobs import JobState
from runbooks.drills.approval import ADDRESS_VARIABLE, TOKEN_VARIABLE
from runbooks.drills.catalogue import DRILLS, Drill
from runbooks.drills.past import read_evidence

PLAN, DRILL = "plan", "drill"
MOST_ROUNDS = 10
"""Of planned moves from the browser. Source: our choice, three minutes; more at the command line."""


def find_choices(request: Request, drill: Drill) -> dict[str, Sequence[str]]:
    """Return what a drill has to be told, and what may be chosen, by the name of the option."""
    cells = [cell.cell for cell in console_of(request).watch.platform().cells]
    known: Mapping[str, Sequence[str]] = {
        "site": [str(site) for site in DATA_SITES],
        "cell": cells,
        "rounds": [str(number) for number in range(1, MOST_ROUNDS + 1)],
    }
    return {name: known[name] for name in drill.takes}


def find_words(request: Request, drill: Drill, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of the drill's command as the form has them; 404 for a choice that there is not."""
    words = ["drill", "run", drill.name]
    for name, choices in find_choices(request, drill).items():
        if fields.get(name, "") not in choices:
            raise HTTPException(404)
        words += [f"--{name}", fields[name]]
    return (*words, "--json")


async def _begin(request: Request, person: Person, kind: str, words: Sequence[str]) -> Response:
    handed = {TOKEN_VARIABLE: read_token(request.cookies) or "", ADDRESS_VARIABLE: address_of(request)}
    jobs = console_of(request).jobs
    job = await asyncio.to_thread(jobs.begin, kind, words, person.staff, handed)
    return RedirectResponse(f"/drills/jobs/{job.name}", 303)


async def post_plan(request: Request, person: Person, fields: Mapping[str, str]) -> Response:
    """Look whether a drill could begin now; nothing is touched."""
    drill = DRILLS.get(fields.get("drill", ""))
    if drill is None:
        raise HTTPException(404)
    return await _begin(request, person, PLAN, find_words(request, drill, fields))


async def post_start(request: Request, person: Person, _fields: Mapping[str, str]) -> Response:
    """Run what a plan planned, or what asked for an approval, with it."""
    before = await _find(request)
    words = [word for word in before.job.words if word != "--execute"]
    if before.job.kind == DRILL:
        approval = find_approval(before)
        if approval is None:
            raise HTTPException(404)
        if "--approval" in words:
            del words[words.index("--approval") : words.index("--approval") + 2]
        words += ["--approval", approval]
    return await _begin(request, person, DRILL, (*words, "--execute"))


def find_approval(state: JobState) -> str | None:
    """Return the approval that a drill asked for instead of beginning; None when it did not."""
    plain = state.plain
    found = plain.get("approval") if isinstance(plain, dict) and plain.get("executed") is False else None
    if found is None and state.job.kind == DRILL and "--approval" in state.job.words and state.exit == 1:
        began = isinstance(plain, dict) and "verdict" in plain
        return None if began else state.job.words[state.job.words.index("--approval") + 1]
    return str(found) if found else None


async def _find(request: Request) -> JobState:
    state = await asyncio.to_thread(console_of(request).jobs.find, request.path_params["name"])
    if state is None:
        raise HTTPException(404)
    return state


def _values(request: Request, state: JobState) -> dict[str, Any]:
    console = console_of(request)
    run = None
    if state.job.kind == DRILL and state.over and state.started_at is not None:
        name = state.job.words[2]
        newest = next((one for one in read_evidence(console.evidence) if one.drill == name), None)
        if newest is not None and newest.started_at >= state.started_at:
            run = newest
    plain = state.plain if isinstance(state.plain, dict) else {}
    approval = find_approval(state) if state.over else None
    books = find_books(DRILLS[state.job.words[2]])
    return {"job": state, "plain": plain, "run": run, "approval": approval, "books": books}


async def show_job(request: Request, person: Person) -> Response:
    """Show a plan or a drill; the page follows it by itself."""
    return await _show(request, person, "job.html")


async def show_job_part(request: Request, person: Person) -> Response:
    """Send what has changed of a job; asked for by its page, no use of the session."""
    return await _show(request, person, "_job.html")


async def _show(request: Request, person: Person, template: str) -> Response:
    state = await _find(request)
    values = await asyncio.to_thread(_values, request, state)
    runs = state.job.kind == DRILL and not state.over
    platform = await console_of(request).watch.look_now() if runs else None
    return show_page(request, template, person=person, platform=platform, **values)


ROUTES = [
    Route("/drills/plans", posted(post_plan), methods=["POST"]),
    Route("/drills/jobs/{name}", signed_in(show_job)),
    Route("/drills/jobs/{name}/part", signed_in(show_job_part, uses=False)),
    Route("/drills/jobs/{name}/start", posted(post_start), methods=["POST"]),
]
