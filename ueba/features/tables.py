"""The day's figures of each person, and tallies of what they used, as Ibis expressions. Pure.

A feature of day D uses events of day D only; what is usual is computed from them later. `make_frame`
first, then the others take its result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from ueba.events import Action

DAY_S = 86_400
SLOT_S = 900
"""Two terminals within a quarter of an hour are two places at once. Source: our choice; nobody changes
branches faster."""
QUICK_MS = 2_000
"""A look shorter than this reads nothing. Source: research/ueba.md §2.3, L7."""
LONG_MS = 1_200_000
"""Twenty minutes. Source: research/ueba.md §2.3, L7."""
NIGHT_BEFORE, NIGHT_FROM = 7, 20
"""Hours of local time that nobody's shift covers. Source: our choice, to be set by the organisation."""

COUNTS = (
    "events", "looks", "customers", "searches", "unfollowed", "lists", "exports", "export_rows", "unmasks",
    "fields_shown", "outside", "bare", "foreign", "foreign_bare", "odd_state", "dormant_bare", "listed_bare",
    "related_bare", "quick", "long", "dwells", "dwell_log_sum", "dwell_log_squares", "denied", "night",
    "night_rows", "pays", "approvals", "break_glass_bare", "repeat_bare", "overlap", "viewers",
)  # fmt: skip
"""Columns of `make_staff_days` beside staff, day, role and branch. `bare` means: neither assigned nor with a
case; `dwell_log_*` are of round(1000 ln ms)."""


@dataclass(frozen=True, slots=True)
class DayTables:
    """What the days say, all integers and words: in one fixed order, whatever order the events came in."""

    staff_days: pa.Table
    tallies: pa.Table
    bare_looks: pa.Table
    money_acts: pa.Table


FRAME = (
    "staff", "day", "hour", "slot", "local_s", "role", "branch", "action", "look", "outside", "bare",
    "foreign", "caseless", "customer", "customer_branch", "segment", "state", "listed", "relation",
    "terminal", "n_fields", "purpose", "rows", "dwell_ms", "result",
)  # fmt: skip
"""Columns of a frame."""

LOOKS = (Action.VIEW.value, Action.UNMASK.value)


def make_frame(
    events: ir.Table,
    registers: Mapping[str, ir.Table],
    utc_offset_minutes: int,
    keep: tuple[str, ...] = (),
) -> ir.Table:
    """Return the events with local day, hour, role, branch and what is known of the customer.

    `registers` are `staff`, `customer` and `relation`; `keep` are more columns of the events to keep.
    """
    staff, customers, relations = (registers[name] for name in ("staff", "customer", "relation"))
    people = staff.select("staff", own_role="role", own_branch="branch")
    of_customer = customers.select("customer", "segment", "state", "listed", customer_branch="branch")
    known = relations.group_by("staff", "customer").aggregate(relation=lambda t: t.relation.max())
    frame = events.left_join(people, "staff").drop("staff_right")
    frame = frame.left_join(of_customer, "customer").drop("customer_right")
    frame = frame.left_join(known, ["staff", "customer"]).drop("staff_right", "customer_right")
    local_s = frame["at"].epoch_seconds() + 60 * utc_offset_minutes
    frame = frame.mutate(local_s=local_s.cast("int64"))
    frame = frame.mutate(
        day=(frame.local_s // DAY_S).cast("int64"),
        hour=((frame.local_s % DAY_S) // 3600).cast("int64"),
        slot=(frame.local_s // SLOT_S).cast("int64"),
        role=ibis.coalesce(frame.role, frame.own_role, ibis.literal("unknown")),
        branch=ibis.coalesce(frame.branch, frame.own_branch, ibis.literal("unknown")),
        look=frame.action.isin(LOOKS) & frame.customer.notnull(),
    )
    outside = frame.look & ibis.coalesce(~frame.assigned, ibis.literal(True))
    return frame.mutate(
        outside=outside,
        bare=outside & frame.case_id.isnull(),
        foreign=frame.look & ibis.coalesce(frame.customer_branch != frame.branch, ibis.literal(False)),
        caseless=frame.case_id.isnull(),
    ).select(*FRAME, *keep)


def _flag(condition: Any) -> Any:
    return ibis.coalesce(condition, ibis.literal(False)).cast("int64").sum()


def _logarithm(frame: ir.Table) -> Any:
    return ((frame.dwell_ms.cast("float64") + 1.0).ln() * 1000.0).round().cast("int64")


def make_staff_days(frame: ir.Table) -> ir.Table:
    """Return one row a person and day: staff, day, role, branch and COUNTS, in no order."""
    f = frame.mutate(dwell_log=_logarithm(frame))
    night = (f.hour < NIGHT_BEFORE) | (f.hour >= NIGHT_FROM)
    found = f.group_by("staff", "day").aggregate(
        role=f.role.max(),
        branch=f.branch.max(),
        events=f.count(),
        looks=_flag(f.look),
        searches=_flag(f.action == Action.SEARCH.value),
        lists=_flag(f.action == Action.LIST.value),
        exports=_flag(f.action == Action.EXPORT.value),
        export_rows=f.rows.sum(),
        unmasks=_flag(f.action == Action.UNMASK.value),
        fields_shown=f.n_fields.cast("int64").sum(),
        outside=_flag(f.outside),
        bare=_flag(f.bare),
        foreign=_flag(f.foreign),
        foreign_bare=_flag(f.foreign & f.bare),
        odd_state=_flag(f.bare & f.state.isin(("closed", "declined"))),
        dormant_bare=_flag(f.bare & (f.state == "dormant")),
        listed_bare=_flag(f.bare & f.listed),
        related_bare=_flag(f.bare & f.relation.notnull()),
        quick=_flag(f.look & (f.dwell_ms < QUICK_MS)),
        long=_flag(f.look & (f.dwell_ms > LONG_MS)),
        dwells=_flag(f.dwell_ms.notnull()),
        dwell_log_sum=ibis.coalesce(f.dwell_log.sum(), 0),
        dwell_log_squares=ibis.coalesce((f.dwell_log * f.dwell_log).sum(), 0),
        denied=_flag(f.result != "ok"),
        night=_flag(night),
        night_rows=ibis.ifelse(night, f.rows, 0).sum(),
        pays=_flag(f.action == Action.PAY.value),
        approvals=_flag(f.action == Action.APPROVE.value),
        break_glass_bare=_flag((f.action == Action.BREAK_GLASS.value) & f.caseless),
    )
    found = _join(found, _make_repeats(f), _make_overlaps(f))
    found = found.mutate(unfollowed=ibis.greatest(found.searches - found.looks // 2, 0))
    return found.select("staff", "day", "role", "branch", *(found[name].cast("int64") for name in COUNTS))


def _join(left: ir.Table, *others: ir.Table) -> ir.Table:
    for other in others:
        left = left.left_join(other, ["staff", "day"]).drop("staff_right", "day_right")
    added = {
        name: ibis.coalesce(left[name], 0) for name in ("customers", "repeat_bare", "viewers", "overlap")
    }
    return left.mutate(**added)


def _make_repeats(f: ir.Table) -> ir.Table:
    """Distinct customers; most bare looks at one; most people who looked barely at one of them that day."""
    each = f.filter(f.look).group_by("staff", "day", "customer").aggregate(bare=_flag(f.bare))
    watchers = each.filter(each.bare > 0).group_by("day", "customer").aggregate(viewers=lambda t: t.count())
    joined = each.left_join(watchers, ["day", "customer"]).drop("day_right", "customer_right")
    seen = ibis.ifelse(joined.bare > 0, ibis.coalesce(joined.viewers, 0), 0)
    return joined.group_by("staff", "day").aggregate(
        customers=joined.count(), repeat_bare=joined.bare.max(), viewers=seen.max()
    )


def _make_overlaps(f: ir.Table) -> ir.Table:
    """Quarters of an hour with two terminals; the hour of a device change has one or two of them."""
    slots = (
        f.filter(f.terminal.notnull())
        .group_by("staff", "day", "slot")
        .aggregate(places=lambda t: t.terminal.nunique())
    )
    return slots.group_by("staff", "day").aggregate(overlap=_flag(slots.places > 1))


def make_bare_looks(frame: ir.Table) -> ir.Table:
    """Return staff, day, customer, n, dormant, first_s: looks with neither assignment nor case."""
    return (
        frame.filter(frame.bare)
        .group_by("staff", "day", "customer")
        .aggregate(
            n=lambda t: t.count(),
            dormant=lambda t: _flag(t.state == "dormant"),
            first_s=lambda t: t.local_s.min(),
        )
    )


def make_money_acts(frame: ir.Table) -> ir.Table:
    """Return staff, day, customer, last_s, approvals: approvals and payments for dormant customers."""
    acts = frame.filter(
        frame.action.isin((Action.APPROVE.value, Action.PAY.value))
        & ibis.coalesce(frame.state == "dormant", ibis.literal(False))
    )
    return acts.group_by("staff", "day", "customer").aggregate(
        last_s=lambda t: t.local_s.max(), approvals=lambda t: _flag(t.action == Action.APPROVE.value)
    )


Tally = Callable[[ir.Table], tuple[Any, Any, Any]]
"""From a frame to: which rows count, under which word, with which weight."""

TALLIES: dict[str, Tally] = {
    "action": lambda f: (ibis.literal(True), f.action, ibis.literal(1)),
    "hour": lambda f: (ibis.literal(True), f.hour.cast("string"), ibis.literal(1)),
    "terminal": lambda f: (f.terminal.notnull(), f.terminal, ibis.literal(1)),
    "customer_branch": lambda f: (f.look & f.customer_branch.notnull(), f.customer_branch, ibis.literal(1)),
    "segment": lambda f: (f.look & f.segment.notnull(), f.segment, ibis.literal(1)),
    "purpose": lambda f: (f.purpose.notnull(), f.purpose, ibis.literal(1)),
    "export_hour": lambda f: (f.rows > 0, f.hour.cast("string"), f.rows),
}


def make_tally(frame: ir.Table, name: str) -> ir.Table:
    """Return staff, day, word, n of one dimension, for rarity."""
    counts, word, weight = TALLIES[name](frame)
    kept = frame.filter(counts).mutate(word=word, weight=weight)
    return kept.group_by("staff", "day", "word").aggregate(n=lambda t: t.weight.sum().cast("int64"))
