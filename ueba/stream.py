"""The streaming path of one site: events into the site's Valkey, a provisional score back at once.

Each site runs one on its own Valkey, fed from its own copy of the outbox, so either site may vanish.
An event is applied by one script that also remembers its id: delivered again, after a crash or from both
sites' history, it changes nothing. What a lost Valkey knew is had again by delivering the day anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis

from ueba.events import Action, Event
from ueba.floors import Rule
from ueba.provisional import Profile, Provisional, Sofar, compute_provisional
from ueba.settings import Settings

KEEP_S = 3 * 86_400
"""How long a day's state is kept. Source: our choice: late events of a weekend still find it."""

# One call for many events: for each event whether it is new, the day's counts, the new words, and rules.
_APPLY = """
local answers = {}
for _, raw in ipairs(ARGV) do
  local e = cjson.decode(raw)
  local seen = 'ueba:seen:' .. e.day .. ':' .. e.staff
  local day = 'ueba:day:' .. e.day .. ':' .. e.staff
  if redis.call('SADD', seen, e.id) == 0 then
    answers[#answers + 1] = '{"new":false}'
  else
    redis.call('EXPIRE', seen, tonumber(KEYS[1]))
    local counts = {}
    for name, n in pairs(e.counts) do
      counts[name] = redis.call('HINCRBY', day, name, n)
    end
    if e.customer then
      counts['repeat_bare'] = redis.call('HINCRBY', day, 'c:' .. e.customer, 1)
    end
    for _, word in ipairs(e.words) do
      if redis.call('SISMEMBER', 'ueba:words:' .. e.staff, word) == 0 and
         redis.call('HINCRBY', day, 'w:' .. word, 1) == 1 then
        redis.call('HINCRBY', day, 'new_words', 1)
      end
    end
    local fresh = tonumber(redis.call('HGET', day, 'new_words') or '0')
    local listed = e.customer and redis.call('SISMEMBER', 'ueba:listed', e.customer) or 0
    local related = e.customer and redis.call('SISMEMBER', 'ueba:related:' .. e.staff, e.customer) or 0
    redis.call('EXPIRE', day, tonumber(KEYS[1]))
    answers[#answers + 1] = cjson.encode({new = true, counts = counts, new_words = fresh, listed = listed,
      related = related, silenced = redis.call('SISMEMBER', 'ueba:silenced', e.staff)})
  end
end
return answers
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event: None when it was applied before."""

    event_id: str
    staff: str
    provisional: Provisional | None


class StreamScorer:
    """Scores batches of events. Profiles are read from Valkey once and kept until `forget_profiles`."""

    def __init__(self, valkey: "Redis", settings: Settings) -> None:
        """Use a client that decodes answers."""
        self._valkey = valkey
        self._settings = settings
        self._apply = valkey.register_script(_APPLY)
        self._profiles: dict[str, Profile] = {}

    async def apply(self, events: Sequence[Event]) -> list[Outcome]:
        """Apply events and return their outcomes in order; two round trips a batch.

        RedisError when Valkey does not answer: deliver the same batch again, nothing doubles.
        """
        if not events:
            return []
        days = [self._day(event) for event in events]
        offset_s = 60 * self._settings.utc_offset_minutes
        arguments = [
            json.dumps(_reduce(event, day, offset_s)) for event, day in zip(events, days, strict=True)
        ]
        answers = [json.loads(one) for one in await self._apply(keys=[str(KEEP_S)], args=arguments)]
        await self._read_profiles({event.staff for event in events})
        outcomes, best = [], dict[tuple[int, str], float]()
        for event, day, answer in zip(events, days, answers, strict=True):
            found = self._score(event, answer) if answer["new"] else None
            outcomes.append(Outcome(event.event_id, event.staff, found))
            if found is not None:
                best[day, event.staff] = max(best.get((day, event.staff), 0.0), found.score)
        async with self._valkey.pipeline(transaction=False) as pipe:
            for (day, staff), score in best.items():
                pipe.zadd(f"ueba:provisional:{day}", {staff: score}, gt=True)
                pipe.expire(f"ueba:provisional:{day}", KEEP_S)
            await pipe.execute()
        return outcomes

    def _day(self, event: Event) -> int:
        return int((event.at.timestamp() + 60 * self._settings.utc_offset_minutes) // 86_400)

    def _score(self, event: Event, answer: Mapping[str, Any]) -> Provisional:
        rules = [rule for rule, key in ((Rule.RELATION, "related"), (Rule.LISTED, "listed")) if answer[key]]
        if answer["silenced"]:
            rules.append(Rule.DORMANT_ACTIVE)
        if event.action == Action.BREAK_GLASS and event.case_id is None:
            rules.append(Rule.BREAK_GLASS_BARE)
        sofar = Sofar(answer["counts"], int(answer["new_words"]), tuple(rules))
        return compute_provisional(self._profiles.get(event.staff, Profile()), sofar)

    async def _read_profiles(self, staff: set[str]) -> None:
        missing = sorted(staff - self._profiles.keys())
        if missing:
            for name, raw in zip(missing, await self._valkey.hmget("ueba:profiles", missing), strict=True):
                self._profiles[name] = Profile(**json.loads(raw)) if raw else Profile()

    def forget_profiles(self) -> None:
        """Read profiles anew from the next batch on: the daily path has written others."""
        self._profiles.clear()

    async def highest(self, day: int, count: int) -> list[tuple[str, float]]:
        """Return the people of a day with the highest provisional scores."""
        found = await self._valkey.zrevrange(f"ueba:provisional:{day}", 0, count - 1, withscores=True)
        return [(str(row[0]), float(row[1])) for row in found]


def _reduce(event: Event, day: int, offset_s: int) -> dict[str, Any]:
    """Return what the script needs of an event."""
    look = event.action in (Action.VIEW, Action.UNMASK) and event.customer is not None
    bare = look and event.assigned is not True and event.case_id is None
    counts = {"events": 1}
    if look:
        counts["looks"] = 1
    if bare:
        counts["bare"] = 1
    if event.action == Action.SEARCH:
        counts["searches"] = 1
    if event.rows:
        counts["export_rows"] = event.rows
    hour = int(((event.at.timestamp() + offset_s) / 3600) % 24)
    words = [f"hour:{hour}", f"action:{event.action}"]
    if event.terminal:
        words.append(f"terminal:{event.terminal}")
    reduced = {"id": event.event_id, "staff": event.staff, "day": day, "counts": counts, "words": words}
    # Left out, not null: Lua's cjson makes a value of null, and that value is true.
    return reduced | {"customer": event.customer} if bare else reduced


async def write_profiles(
    valkey: "Redis", profiles: Mapping[str, Profile], words: Mapping[str, Sequence[str]]
) -> None:
    """Write what the daily path says is usual, and the words that each person has used."""
    async with valkey.pipeline(transaction=False) as pipe:
        for staff, profile in profiles.items():
            pipe.hset("ueba:profiles", staff, json.dumps(asdict(profile)))
        for staff, used in words.items():
            pipe.delete(f"ueba:words:{staff}")
            if used:
                pipe.sadd(f"ueba:words:{staff}", *used)
        await pipe.execute()


@dataclass(frozen=True, slots=True)
class Marks:
    """What the registers say of one member of staff: the account must be silent, whom they know privately."""

    silenced: bool = False
    related: tuple[str, ...] = ()


async def write_marks(valkey: "Redis", marks: Mapping[str, Marks]) -> None:
    """Write what the rules of the streaming path ask for."""
    async with valkey.pipeline(transaction=False) as pipe:
        for staff, one in marks.items():
            change = pipe.sadd if one.silenced else pipe.srem
            change("ueba:silenced", staff)
            pipe.delete(f"ueba:related:{staff}")
            if one.related:
                pipe.sadd(f"ueba:related:{staff}", *one.related)
        await pipe.execute()


async def write_listed(valkey: "Redis", customers: Sequence[str]) -> None:
    """Write the guarded list."""
    async with valkey.pipeline(transaction=True) as pipe:
        pipe.delete("ueba:listed")
        if customers:
            pipe.sadd("ueba:listed", *customers)
        await pipe.execute()
