"""Etcd over its JSON gateway: linearizable reads, compare-and-swap, leases, watch.

Every request names its own endpoint and deadline, so that a member that died or lost its leader
costs one short time-out and not a channel's back-off (docs/decisions/001). All members are tried,
the last one that answered first: with idc and cloud cut from each other, an agent still writes
through the witness.
"""

import asyncio
import base64
import enum
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from replication.tls import Tls

ATTEMPT_SECONDS = 0.4
"""Patience with one member. Source: our choice, eight heartbeats of 50 ms and the 40 ms of a slow flush."""
WATCH_SILENCE_SECONDS = 1.5
"""A watch over the beats without any event for this long is taken for dead. Source: six beats."""


class EtcdUnavailable(Exception):
    """No member answered in time, or the one asked has no leader; nothing is known about the request."""


SWAPS_AT_ONCE = 8
"""Grants that are changed side by side. Source: our choice, a quarter of the connections: hundreds of cells
that lose a site in the same second must not keep looks and beats waiting, without which primaries end."""


class Outcome(enum.Enum):
    """What became of a write: an UNKNOWN one may still be applied later."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A value with the revision that a swap of it must name."""

    value: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a key; `value` is None when it was deleted or its lease ran out."""

    key: str
    value: str | None
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys under a prefix at one revision."""

    revision: int
    values: Mapping[str, KeyValue]
    cluster: str = ""
    """Id of the etcd cluster: revisions of another one mean nothing here."""


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def _prefix_end(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class _NotSent(EtcdUnavailable):
    """The member refused the connection: the request was certainly not processed."""


class Etcd:
    """A client of all members; use as an async context manager."""

    def __init__(
        self, urls: Sequence[str], tls: Tls = True, *, attempt_seconds: float = ATTEMPT_SECONDS
    ) -> None:
        self._urls = list(urls)
        self._tls = tls
        self._attempt_seconds = attempt_seconds
        self._session: aiohttp.ClientSession | None = None
        self._swaps = asyncio.Semaphore(SWAPS_AT_ONCE)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=4 * SWAPS_AT_ONCE, keepalive_timeout=15, ssl=self._tls),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read_prefix(self, prefix: str, last: Snapshot | None = None) -> Snapshot:
        """Read every key under `prefix` linearizably; EtcdUnavailable when no member could serve it.

        With the `last` snapshot of the prefix, only what was written since is sent and the rest is taken from
        there: the result is the same (docs/decisions/103). Keys that live now were written since or stand
        in `last`, so as many as etcd counts means none was deleted; otherwise everything is read.
        """
        body = {"key": _b64(prefix), "range_end": _b64(_prefix_end(prefix))}
        since = {"min_mod_revision": str(last.revision + 1)} if last else {}
        answer = await self._ask_any("/v3/kv/range", body | since)
        header, known = answer["header"], dict(last.values) if last else {}
        for kv in answer.get("kvs", []):
            known[_text(kv["key"])] = KeyValue(_text(kv.get("value", "")), int(kv["mod_revision"]))
        now = Snapshot(int(header["revision"]), known, str(header["cluster_id"]))
        if last is None:
            return now
        goes_on = now.cluster == last.cluster and now.revision >= last.revision
        none_deleted = int(answer.get("count", 0)) == len(known)
        return now if goes_on and none_deleted else await self.read_prefix(prefix)

    async def swap(self, key: str, value: str, mod_revision: int, *, once: str | None = None) -> Outcome:
        """Write `key` only if its last change was `mod_revision` (0: the key must not exist).

        `once`: another key, written with it, that must not exist either; as long as nobody removes it no
        such swap is done again. UNKNOWN when the answer was lost: settle it by another swap, never by a
        read (I3). Waits for its turn, which costs none of its time: see SWAPS_AT_ONCE.
        """
        writes = [(key, value, mod_revision)] + ([(once, "", 0)] if once else [])
        body = {
            "compare": [
                {"key": _b64(at), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
                for at, _, revision in writes
            ],
            "success": [{"request_put": {"key": _b64(at), "value": _b64(text)}} for at, text, _ in writes],
        }
        async with self._swaps:
            return await self._swap(body)

    async def _swap(self, body: Mapping[str, Any]) -> Outcome:
        for url in tuple(self._urls):
            try:
                answer = await self._ask(url, "/v3/kv/txn", body)
            except _NotSent:
                self._demote(url)
                continue
            except EtcdUnavailable:
                self._demote(url)
                return Outcome.UNKNOWN
            return Outcome.DONE if answer.get("succeeded") else Outcome.REFUSED
        return Outcome.REFUSED

    async def put(self, key: str, value: str, *, lease: int = 0) -> None:
        """Write `key` whatever it was; only for values that do not decide anything by being old."""
        body = {"key": _b64(key), "value": _b64(value), "lease": str(lease)}
        await self._ask_any("/v3/kv/put", body)

    async def delete(self, key: str) -> None:
        """Remove `key` if it is there."""
        await self._ask_any("/v3/kv/deleterange", {"key": _b64(key)})

    async def grant_lease(self, ttl_seconds: int) -> int:
        """Return the id of a new lease."""
        answer = await self._ask_any("/v3/lease/grant", {"TTL": str(ttl_seconds)})
        return int(answer["ID"])

    async def keep_lease(self, lease: int) -> bool:
        """Renew a lease; False when it has run out."""
        answer = await self._ask_any("/v3/lease/keepalive", {"ID": str(lease)})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    async def lead_at(self, name: str) -> bool:
        """Have the member called `name` lead, if it follows now; return whether it led already.

        Only a member that follows the present leader is fit: handing over to one that cannot answer
        would stop all writes for an election. EtcdUnavailable when the leader cannot be asked.
        """
        wanted = next((ident for ident, member in (await self._members()).items() if member == name), None)
        answered = await self._statuses()
        fit = any(
            s["header"]["member_id"] == wanted and s.get("leader", "0") != "0" for s in answered.values()
        )
        for url, status in answered.items():
            if status["header"]["member_id"] != status.get("leader"):
                continue
            if status["leader"] != wanted and fit:
                await self._ask(url, "/v3/maintenance/transfer-leadership", {"targetID": wanted})
            return bool(status["leader"] == wanted)
        raise EtcdUnavailable("no member says that it leads")

    async def silent_members(self) -> frozenset[str]:
        """Return the names of the members that do not answer or follow no leader.

        EtcdUnavailable when no member can be asked who the others are.
        """
        members = await self._members()
        fit = {
            s["header"]["member_id"] for s in (await self._statuses()).values() if s.get("leader", "0") != "0"
        }
        return frozenset(name for ident, name in members.items() if ident not in fit)

    async def _members(self) -> dict[str, str]:
        """Return the name of each member by its id."""
        listed = (await self._ask_any("/v3/cluster/member/list", {}))["members"]
        return {member["ID"]: member.get("name", "") for member in listed}

    async def _statuses(self) -> dict[str, dict[str, Any]]:
        """Return what each member that answers says of itself, by its URL."""
        statuses = await asyncio.gather(
            *(self._ask(url, "/v3/maintenance/status", {}) for url in self._urls), return_exceptions=True
        )
        return {url: s for url, s in zip(self._urls, statuses, strict=True) if isinstance(s, dict)}

    async def watch_prefix(self, prefix: str, from_revision: int) -> AsyncIterator[list[Event]]:
        """Yield changes under `prefix` as they come; EtcdUnavailable when the stream breaks or is silent."""
        request = {
            "create_request": {
                "key": _b64(prefix),
                "range_end": _b64(_prefix_end(prefix)),
                "start_revision": str(from_revision),
            }
        }
        url = self._urls[0]
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._attempt_seconds, sock_read=WATCH_SILENCE_SECONDS
        )
        try:
            async with self._live().post(url + "/v3/watch", json=request, timeout=timeout) as response:
                async for line in response.content:
                    result = json.loads(line).get("result", {})
                    if result.get("canceled"):
                        break
                    if events := [_event(raw) for raw in result.get("events", [])]:
                        yield events
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._demote(url)
            raise EtcdUnavailable(f"watch at {url}: {type(error).__name__}") from error
        self._demote(url)
        raise EtcdUnavailable(f"watch at {url} ended")

    def _live(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("Etcd is used outside `async with`")
        return self._session

    def _demote(self, url: str) -> None:
        """Ask the other members first from now on."""
        if self._urls[0] == url:
            self._urls.append(self._urls.pop(0))

    async def _ask_any(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        failures = []
        for url in tuple(self._urls):
            try:
                return await self._ask(url, path, body)
            except EtcdUnavailable as error:
                self._demote(url)
                failures.append(str(error))
        raise EtcdUnavailable("; ".join(failures))

    async def _ask(self, url: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=self._attempt_seconds)
        try:
            async with self._live().post(url + path, json=body, timeout=timeout) as response:
                text = await response.text()
                if response.status != 200:
                    raise EtcdUnavailable(f"{url}{path}: {response.status} {text[:200]}")
                answer: dict[str, Any] = json.loads(text)
                return answer
        except aiohttp.ClientConnectorError as error:
            raise _NotSent(f"{url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            raise EtcdUnavailable(f"{url}{path}: {type(error).__name__}") from error


def _event(raw: Mapping[str, Any]) -> Event:
    kv = raw["kv"]
    value = None if raw.get("type") == "DELETE" else _text(kv.get("value", ""))
    return Event(_text(kv["key"]), value, int(kv["mod_revision"]))
