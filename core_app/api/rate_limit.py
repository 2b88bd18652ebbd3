"""How often a client may ask: token buckets in the site's Valkey, taken from before anything is read.

A client is told apart by its peer address. With a `Biyi-Client` header a request takes from a second,
smaller bucket of that address and name too, so that clients behind one gateway do not starve each other;
since the address's bucket is taken from in any case, making names up gains nothing. (An API key will
take the name's place when there are keys.) See docs/decisions/015-a-rate-limit-that-money-may-pass.md.
"""

import functools
import hashlib
import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core_app.api.problem import make_answer
from core_app.round_trip import RoundTrips
from core_app.settings import ApiSettings

CLIENT_HEADER = "Biyi-Client"
_CLIENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LIMITED = "/v1/"
NAMES = 4096
"""Digests of addresses and names that are kept. Source: our choice, more than gateways and their clients."""
_log = logging.getLogger(__name__)

# One token from every bucket or from none. The clock is Valkey's, so that all processes of a site agree;
# a clock set back adds nothing. Returns 0, or the microseconds until every bucket has a token.
_TAKE = """
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local left, wait_us = {}, 0
for i = 1, #KEYS do
    local rate, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local held = redis.call('HMGET', KEYS[i], 'tokens', 'at_us')
    left[i] = burst
    if held[1] then
        local since_us = math.max(0, now_us - tonumber(held[2]))
        left[i] = math.min(burst, tonumber(held[1]) + since_us * rate / 1000000)
    end
    if left[i] < 1 then wait_us = math.max(wait_us, math.ceil((1 - left[i]) * 1000000 / rate)) end
end
if wait_us > 0 then return wait_us end
for i = 1, #KEYS do
    local tokens, at_us = string.format('%.6f', left[i] - 1), string.format('%.0f', now_us)
    redis.call('HSET', KEYS[i], 'tokens', tokens, 'at_us', at_us)
    redis.call('PEXPIRE', KEYS[i], math.ceil(1000 * ARGV[2 * i] / ARGV[2 * i - 1]) + 1000)
end
return 0
"""


@dataclass(slots=True)
class RateCounts:
    """What became of requests since the start; `unchecked` went on because Valkey did not answer."""

    refused: int = 0
    unchecked: int = 0


class Buckets:
    """The buckets of one site. While Valkey is lost everything may pass: counted, and logged once.

    Money paths must not stop with a cache. A Valkey that hangs is asked once a `rate_retry_seconds`, so it
    costs no request but a few its patience. Requests that come together ask together, on one connection: a
    client that is short of them would pass for a lost Valkey, and a crowd would open the gate to itself.
    """

    def __init__(
        self,
        valkey: Redis,
        settings: ApiSettings,
        digest: Callable[[bytes], bytes],
        read_elapsed: Callable[[], float],
    ) -> None:
        self.counts = RateCounts()
        self._valkey = valkey
        self._sha = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()
        self._asking = RoundTrips(self._take_all)
        self._settings = settings
        self._digest = functools.lru_cache(NAMES)(digest)
        self._read_elapsed = read_elapsed
        self._lost_until: float | None = None

    async def take(self, address: str, client: str | None) -> float:
        """Take a request's tokens; returns 0, or the seconds after which it is worth asking again."""
        settings = self._settings
        keys = [self._key(address)]
        words = [settings.rate_address_per_second, settings.rate_address_burst]
        if client is not None:
            keys.append(self._key(f"{address}|{client}"))
            words += [settings.rate_client_per_second, settings.rate_client_burst]
        wait_us = await self._asking.ask((keys, words))
        if wait_us is None:
            self.counts.unchecked += 1
            return 0
        if self._lost_until is not None:
            self._lost_until = None
            _log.warning(
                "rate limit: Valkey answers again, %d requests went unchecked", self.counts.unchecked
            )
        self.counts.refused += wait_us > 0
        return wait_us / 1_000_000

    async def _take_all(self, wanted: Sequence[tuple[list[str], list[float]]]) -> list[int | None]:
        """Take for each in one round trip; None for all while Valkey is lost."""
        if self._lost_until is not None and self._read_elapsed() < self._lost_until:
            return [None] * len(wanted)
        try:
            try:
                return await self._send(wanted)
            except NoScriptError:  # a Valkey that began anew
                await self._valkey.script_load(_TAKE)
                return await self._send(wanted)
        except (RedisError, OSError) as error:
            self._lose(error)
            return [None] * len(wanted)

    async def _send(self, wanted: Sequence[tuple[list[str], list[float]]]) -> list[int | None]:
        async with self._valkey.pipeline(transaction=False) as pipe:
            for keys, words in wanted:
                pipe.evalsha(self._sha, len(keys), *keys, *words)
            return [int(wait_us) for wait_us in await pipe.execute()]

    def _lose(self, error: Exception) -> None:
        if self._lost_until is None:
            _log.warning("rate limit: Valkey lost (%s), requests go unchecked", type(error).__name__)
        self._lost_until = self._read_elapsed() + self._settings.rate_retry_seconds

    def _key(self, name: str) -> str:
        # Keyed digests: an address is personal, and what a client calls itself is any text.
        return "biyi:rate:" + self._digest(f"rate|{name}".encode()).hex()


class RateLimit:
    """Answers 429 with Retry-After to a client that has no token left; health checks need none."""

    def __init__(self, app: ASGIApp, buckets: Buckets) -> None:
        self._app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "http" and scope["path"].startswith(_LIMITED):
            address = scope["client"][0] if scope["client"] else ""
            name = Headers(scope=scope).get(CLIENT_HEADER)
            client = name if name is not None and _CLIENT.fullmatch(name) else None
            wait_seconds = await self._buckets.take(address, client)
            if wait_seconds > 0:
                detail = (
                    "This client has asked too often. Nothing was done; ask again after Retry-After seconds."
                )
                answer = make_answer(429, "Too many requests", "rate-limited", detail, outcome="not_done")
                answer.headers["Retry-After"] = str(math.ceil(wait_seconds))
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
