"""Who a browser's user is: asked of the own site's core API, which keeps accounts, passwords and sessions.

The console keeps none of them. While the core cannot say (a takeover lasts seconds), what it said last
holds a short while, for looking only.
"""

import asyncio
import enum
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from core_app.api.guard import APPROVAL_HEADER, BROWSER_HEADER
from replication.tls import Tls
from runbooks.console.rights import find_sections

PATIENCE_SECONDS = 6.0
"""Patience with the core. Source: our choice, above its own deadline and a takeover (5 s at most)."""
REMEMBERED_SECONDS = 60.0
"""How long its last word holds while it cannot be asked. Source: our choice, far above a takeover and far
under a session's idle limit."""
_MOST_REMEMBERED = 1000
_BUSY, _OVER, _REFUSED = 429, 401, (400, 422)


class Ask(Protocol):
    """Asks the core on behalf of a browser; None when it does not answer, or not in JSON."""

    async def __call__(
        self,
        method: str,
        path: str,
        address: str,
        *,
        token: str = "",
        body: object = None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, Any] | None:
        """Return status and body; `more` are further headers."""


class Refusal(enum.StrEnum):
    """Why nobody is let in: the end of a key of `words`."""

    NOT_ACCEPTED = "not_accepted"
    OVER = "over"
    NOT_ALLOWED = "not_allowed"
    PASSWORD = "password"  # noqa: S105 - what has to be done first
    ENROL = "enrol"
    BUSY = "busy"
    UNREACHABLE = "unreachable"


TO_DO = (Refusal.PASSWORD, Refusal.ENROL)
"""What somebody can mend by themselves, on the page of their account."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whose session it is, and what they work as."""

    staff: str
    branch: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Account:
    """An open session: whose it is, and what it is good for: `full`, or `password` or `enrol` first."""

    person: Person
    scope: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of the core; `key` and `approval` only where the route takes them."""

    method: str
    path: str
    body: object = None
    approval: str = ""
    key: str = ""


class Entrance:
    """The own site's core API, as far as accounts go. `read_s` is a monotonic clock."""

    def __init__(self, ask: Ask, read_s: Callable[[], float]) -> None:
        self._ask = ask
        self._read_s = read_s
        self._known: OrderedDict[bytes, tuple[Person, float]] = OrderedDict()

    async def sign_in(self, staff: str, password: str, code: str, address: str) -> str | Refusal:
        """Return a new session's token; that of somebody who may open no page is ended.

        Whoever has to change the password or to set up a second factor first keeps it for just that.
        """
        attempt = {"staff": staff, "password": password, "code": code or None}
        answer = await self._ask("POST", "/v1/staff/sessions", address, body=attempt)
        if answer is None:
            return Refusal.UNREACHABLE
        status, found = answer
        if status == 201:
            refusal = find_refusal(found)
            if refusal in (None, *TO_DO):
                return str(found["token"])
            await self.sign_out(str(found["token"]), address)
            return refusal
        if status in (_OVER, *_REFUSED):  # a malformed name is as wrong as an unknown one
            return Refusal.NOT_ACCEPTED
        return Refusal.BUSY if status == _BUSY else Refusal.UNREACHABLE

    async def find_person(self, token: str, address: str, *, uses: bool) -> Person | Refusal:
        """Return who a token belongs to now; `uses` False leaves the session idling."""
        path = "/v1/staff/me" if uses else "/v1/staff/standing"
        answer = await self._ask("GET", path, address, token=token)
        if answer is None or answer[0] not in (200, _OVER):
            return self._remembered(token)
        status, found = answer
        refusal = Refusal.OVER if status == _OVER else find_refusal(found)
        if refusal is not None:
            self._known.pop(_digest(token), None)
            return refusal
        person = _person_of(found)
        self._known[_digest(token)] = person, self._read_s()
        self._known.move_to_end(_digest(token))
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return person

    async def find_account(self, token: str, address: str) -> Account | Refusal:
        """Return whose session it is, whatever it is good for; asks anew each time."""
        answer = await self._ask("GET", "/v1/staff/me", address, token=token)
        if answer is None or answer[0] not in (200, _OVER):
            return Refusal.UNREACHABLE
        status, found = answer
        return Refusal.OVER if status == _OVER else Account(_person_of(found), str(found["scope"]))

    async def call(self, wish: Wish, token: str, address: str) -> tuple[int, Any] | None:
        """Ask the core for the owner of a session; None when it does not answer."""
        more = {"Idempotency-Key": wish.key} if wish.key else {}
        if wish.approval:
            more[APPROVAL_HEADER] = wish.approval
        return await self._ask(wish.method, wish.path, address, token=token, body=wish.body, more=more)

    async def sign_out(self, token: str, address: str) -> bool:
        """End a session; False when the core could not be told, so it ends by idling."""
        self._known.pop(_digest(token), None)
        answer = await self._ask("POST", "/v1/staff/logout", address, token=token)
        return answer is not None and answer[0] in (200, _OVER)

    def _remembered(self, token: str) -> Person | Refusal:
        person, at_s = self._known.get(_digest(token), (None, 0.0))
        if person is None or self._read_s() - at_s > REMEMBERED_SECONDS:
            return Refusal.UNREACHABLE
        return person


def asking(session: aiohttp.ClientSession, url: str, tls: Tls, terminal: str) -> Ask:
    """Return what asks the core API at `url`; `terminal` is the work place that sessions are opened at."""

    async def ask(
        method: str,
        path: str,
        address: str,
        *,
        token: str = "",
        body: object = None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, Any] | None:
        headers = {BROWSER_HEADER: address, "Biyi-Terminal": terminal, **(more or {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                session.request(method, url + path, json=body, headers=headers, ssl=tls) as answer,
            ):
                return answer.status, json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    return ask


def _person_of(found: Any) -> Person:
    return Person(str(found["staff"]), str(found["branch"]), frozenset(map(str, found["roles"])))


def find_refusal(found: Any) -> Refusal | None:
    """Return why the owner of a session opens no page at all; None when there is one."""
    if found["scope"] != "full":
        return Refusal(found["scope"])
    return None if find_sections(found["roles"]) else Refusal.NOT_ALLOWED


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
