"""What the audit trail says of itself: its triggers, its entries, its signed checkpoints, its age."""

import datetime as dt
from typing import Any

from compliance.controls.ground import Facts, Ground, SiteGround
from compliance.controls.probes.databases import ask, own_places

TRIGGERS = (
    ("core.outbox", "told_is_audited"),
    ("core.payout_events", "payout_event_is_audited"),
    ("core.business_date", "business_date_is_audited"),
    ("core.slot_moves", "slot_moves_are_audited"),
    *((f"audit.{table}", "append_only") for table in ("entries", "blocks", "checkpoints", "chain")),
    *(
        (f"controls.{t}", f"{t}_are_audited")
        for t in ("attestations", "confirmations", "withdrawals", "runs")
    ),
    *((f"filing.{table}", f"{table}_are_audited") for table in ("batches", "events", "remarks")),
)
"""Triggers that make the trail and keep it. Source: core_app/sql/migrations."""
ENTRIES = 5000
"""Newest entries that are looked at. Source: our choice, some minutes of a busy cell."""

_OFF = """
select coalesce(array_agg(t.relation || '.' || t.name), '{}') as off
from unnest(%(relations)s::text[], %(names)s::text[]) as t (relation, name)
where not exists (select from pg_trigger g where g.tgrelid = to_regclass(t.relation) and g.tgname = t.name
    and g.tgenabled in ('O', 'A'))
"""
# Commands are compared with entries of their own time only: an entry is written by the command's transaction.
_COVERED = """
with sample as materialized (
    select e.line::jsonb as line from audit.entries e order by e.xid desc, e.entry_id desc limit %(entries)s
), since as (select min(line ->> 'at')::timestamptz as at, count(*) as entries from sample)
select since.entries,
    (select count(*) from core.commands c
     where c.at > since.at and c.status is not null
        and not exists (select from sample where sample.line ->> 'key' = c.idempotency_key)) as uncovered,
    (select count(*) from sample where line ->> 'at' is null or line ->> 'what' is null
        or line ->> 'role' is null or line -> 'body' is null) as incomplete
from since
"""
_CHECKPOINT = """
select max((line::jsonb ->> 'at')::timestamptz) as at from audit.checkpoints where site = %(site)s
"""
_OLDEST = """
select (select min(number) from audit.blocks) as first_block,
    (select (e.line::jsonb ->> 'at')::timestamptz from audit.entries e
     order by e.xid, e.entry_id limit 1) as at
"""


async def read_coverage(_: Ground, site: SiteGround) -> Facts:
    """Read whether the triggers are on and each command of late left a complete entry."""
    off: set[str] = set()
    sums = {"entries": 0, "uncovered": 0, "incomplete": 0}
    names = {"relations": [one[0] for one in TRIGGERS], "names": [one[1] for one in TRIGGERS]}
    for place in own_places(site):
        off.update((await ask(site, place, _OFF, names))["off"])
        row = await ask(site, place, _COVERED, {"entries": ENTRIES})
        sums = {name: sums[name] + int(row[name]) for name in sums}
    return {
        "triggers_off": sorted(off), "entries_looked_at": sums["entries"],
        "commands_without_entry": sums["uncovered"], "incomplete_entries": sums["incomplete"],
    }  # fmt: skip


async def read_chain(ground: Ground, site: SiteGround) -> Facts:
    """Verify the whole trail, and read how old this site's newest signed checkpoint is."""
    trail = await ground.verify_trail()
    rows: list[dict[str, Any]] = [
        await ask(site, place, _CHECKPOINT, {"site": str(site.settings.site)}) for place in own_places(site)
    ]
    newest = max((row["at"] for row in rows if row["at"] is not None), default=None)
    facts: Facts = {
        "entries": trail.entries, "findings": list(trail.findings), "anchored": trail.anchored,
    }  # fmt: skip
    if newest is not None:
        facts["checkpoint_age_s"] = round(max(0.0, (ground.read_now() - newest).total_seconds()), 1)
    return facts


async def read_retention(ground: Ground, site: SiteGround) -> Facts:
    """Read how far back the trail goes, and whether anything was ever dropped from its beginning."""
    rows = [await ask(site, place, _OLDEST) for place in own_places(site)]
    oldest = [row["at"] for row in rows if row["at"] is not None]
    if not oldest:
        return {"entries": 0}
    age: dt.timedelta = ground.read_now() - max(oldest)
    whole = all(row["first_block"] in (None, 1) for row in rows)  # what is missing within, verifying finds
    return {"oldest_days": max(0, age.days), "nothing_dropped": whole, "oldest": max(oldest).isoformat()}
