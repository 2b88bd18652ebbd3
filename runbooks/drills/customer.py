"""A customer behind DNS or a traffic manager: asks again, elsewhere, with the same idempotency key.

An attempt that cannot connect, is cut off, takes too long or gets 503 is repeated at the other
entrance after a short bounded pause, until there is a definite outcome or the operation's deadline
has passed. Every attempt is reported, so that repeats stay visible.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from replication.tls import Tls
from runbooks.drills.records import Attempt, Outcome


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a customer waits, in seconds."""

    op_s: float = 20.0
    """Whole operation. Source: our choice, four times the 5 s limit for taking over."""
    attempt_s: float = 3.0
    """One attempt. Source: our choice, above the 2 s after which a primary gives up a mute sync copy."""
    connect_s: float = 0.4
    """Reaching an entrance. Source: our choice; a black-holed entrance must not eat the 5 s limit."""
    pause_s: float = 0.02
    """First pause before asking again; doubles each time. Source: our choice."""
    pause_most_s: float = 0.25
    """Longest pause. Source: our choice, a twelfth of the 3 s aimed at."""
    shun_s: float = 1.0
    """How long an entrance that could not be reached is avoided. Source: our choice, one health
    check interval of a traffic manager."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask. `key` is empty for reads; `body` is None for GET."""

    method: str
    path: str
    key: str = ""
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """How an operation ended, with all attempts."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]
    status: int = 0
    cell: str = ""
    epoch: int = 0
    replayed: bool = False
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Reply:
    """One attempt's result; `final` means that asking again cannot change it."""

    attempt: Attempt
    final: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)


class Customers:
    """All customers of a drill: one HTTP client, the entrances and what is known of their health.

    `entrances` maps a site's name to its base URL, `tls` says whose certificates they believe, `token`
    which channel they come through. Use as an async context manager.
    """

    def __init__(
        self,
        entrances: Mapping[str, str],
        patience: Patience | None = None,
        *,
        tls: Tls = True,
        token: str = "",
    ) -> None:
        self.entrances = dict(entrances)
        self.patience = patience or Patience()
        self._tls = tls
        self._token = token
        self._shunned_until: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Customers":
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=10.0, ssl=self._tls)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def settle(self, request: Request, entrance: str, op_s: float | None = None) -> Settled:
        """Ask until the outcome is definite or `op_s` seconds (default: patience) have passed.

        OK: 2xx. FAIL: refused for good (4xx), or no attempt can have taken effect. UNKNOWN: time
        is up and at least one attempt may have taken effect.
        """
        deadline = time.monotonic() + (self.patience.op_s if op_s is None else op_s)
        pause = self.patience.pause_s
        attempts: list[Attempt] = []
        while True:
            entrance = self._avoid_shunned(entrance)
            reply = await self._attempt(request, entrance, deadline)
            attempts.append(reply.attempt)
            if reply.final:
                return _settled(reply, tuple(attempts))
            if time.monotonic() + pause >= deadline:
                return _given_up(request, tuple(attempts))
            await asyncio.sleep(pause)
            pause = min(2 * pause, self.patience.pause_most_s)
            entrance = self._other(entrance)

    async def _attempt(self, request: Request, entrance: str, deadline: float) -> _Reply:
        assert self._session is not None, "Customers is used as a context manager"  # noqa: S101
        start_ns = time.monotonic_ns()
        total = max(0.05, min(self.patience.attempt_s, deadline - time.monotonic()))
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=min(total, self.patience.connect_s))
        headers = {"Authorization": f"Bearer {self._token}"}
        if request.key:
            headers["Idempotency-Key"] = request.key
        url = self.entrances[entrance] + request.path
        try:
            async with self._session.request(
                request.method, url, json=request.body, headers=headers, timeout=timeout
            ) as response:
                answer = await _read_object(response)
                outcome, final = judge_status(response.status, answer)
                note = (
                    str(answer.get("detail") or answer.get("title") or "") if response.status >= 400 else ""
                )
                attempt = Attempt(
                    entrance, start_ns, time.monotonic_ns(), outcome, response.status, note[:200]
                )
                return _Reply(attempt, final, response.headers, answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # Nothing was sent, so nothing can have happened; let others go elsewhere for a while.
            self._shunned_until[entrance] = time.monotonic() + self.patience.shun_s
            return _Reply(_broken(entrance, start_ns, Outcome.FAIL, error))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _Reply(_broken(entrance, start_ns, Outcome.UNKNOWN, error))

    def _avoid_shunned(self, entrance: str) -> str:
        now = time.monotonic()
        open_ones = [name for name in self.entrances if self._shunned_until.get(name, 0.0) <= now]
        if entrance in open_ones or (entrance in self.entrances and not open_ones):
            return entrance
        return open_ones[0] if open_ones else min(self.entrances)

    def _other(self, entrance: str) -> str:
        """Return the next entrance; the one that was asked may have been closed meanwhile."""
        names = sorted(self.entrances)
        return next((name for name in names if name > entrance), names[0])


def judge_status(status: int, answer: Mapping[str, Any]) -> tuple[Outcome, bool]:
    """Return what a status says about this attempt, and whether asking again is pointless.

    503 says by itself whether something may have been committed; other 5xx leave it open.
    """
    if 200 <= status < 300:
        return Outcome.OK, True
    if status == 503:
        return (Outcome.FAIL if answer.get("outcome") == "not_done" else Outcome.UNKNOWN), False
    if status in (408, 425, 429):
        return Outcome.FAIL, False
    if 400 <= status < 500:
        return Outcome.FAIL, True
    return Outcome.UNKNOWN, False


async def _read_object(response: aiohttp.ClientResponse) -> dict[str, Any]:
    if "json" not in response.content_type:
        return {"title": (await response.text())[:200]}
    plain = await response.json(content_type=None)
    return plain if isinstance(plain, dict) else {}


def _broken(entrance: str, start_ns: int, outcome: Outcome, error: BaseException) -> Attempt:
    note = f"{type(error).__name__}: {error}"[:200]
    return Attempt(entrance, start_ns, time.monotonic_ns(), outcome, 0, note)


def _settled(reply: _Reply, attempts: tuple[Attempt, ...]) -> Settled:
    epoch = reply.headers.get("Biyi-Epoch", "0")
    return Settled(
        outcome=reply.attempt.outcome,
        attempts=attempts,
        status=reply.attempt.status,
        cell=reply.headers.get("Biyi-Cell", ""),
        epoch=int(epoch) if epoch.isdigit() else 0,
        replayed=reply.headers.get("Biyi-Replayed") == "true",
        answer=reply.answer,
    )


def _given_up(request: Request, attempts: tuple[Attempt, ...]) -> Settled:
    maybe = bool(request.key) and any(attempt.outcome is Outcome.UNKNOWN for attempt in attempts)
    return Settled(Outcome.UNKNOWN if maybe else Outcome.FAIL, attempts, attempts[-1].status)
