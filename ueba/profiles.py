"""What is usual for each member of staff, as the streaming path wants it: from the figures of the days."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ueba.features.days import read_days
from ueba.feedback import begun_anew
from ueba.journal import read_acts
from ueba.provisional import Profile
from ueba.settings import Settings, day_number
from ueba.standing import plain_profile
from ueba.store import Home
from ueba.stream import Marks

STREAMED = ("events", "looks", "bare", "searches", "export_rows", "repeat_bare")
"""Counts that the streaming path keeps, by their names among the day's figures."""
_WORDS = ("hour", "action", "terminal")


def make_profiles(home: Home, day: dt.date, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what is published of each member of staff for the days after `day`: documents by token.

    Counts are those of the own window before the gap, as in the daily path, so that a slow theft does not
    become usual; of who has a new role, those since it began. The days' figures must have been made.
    """
    until = day - dt.timedelta(days=settings.baseline.gap - 1)
    first = until - dt.timedelta(days=settings.baseline.window)
    days = [one for one in home.days() if first <= one < until]
    marks = _marks(home, day)
    if not days:
        return {name: plain_profile(Profile(), (), one) for name, one in marks.items()}
    tables = read_days(home, days)
    begun = _read_begun(home, day)
    staff_days, tallies = (_since(begun, table) for table in (tables.staff_days, tables.tallies))
    words = _words(tallies)
    made = {}
    names, person = np.unique(staff_days["staff"].to_numpy(zero_copy_only=False), return_inverse=True)
    columns = np.stack([np.log1p(staff_days[name].to_numpy()) for name in STREAMED], axis=1)
    counts = np.bincount(person)
    sums = np.stack([np.bincount(person, column) for column in columns.T], axis=1)
    squares = np.stack([np.bincount(person, column**2) for column in columns.T], axis=1)
    mean = sums / counts[:, None]
    spread = np.sqrt(np.maximum(squares / counts[:, None] - mean**2, 0.0))
    for place, name in enumerate(names):
        usual = Profile(
            dict(zip(STREAMED, mean[place].round(4).tolist(), strict=True)),
            dict(zip(STREAMED, spread[place].round(4).tolist(), strict=True)),
            float(counts[place]),
        )
        made[str(name)] = plain_profile(usual, words.get(str(name), ()), marks.pop(str(name), Marks()))
    return made | {name: plain_profile(Profile(), (), one) for name, one in marks.items()}


def _read_begun(home: Home, day: dt.date) -> dict[str, int]:
    """Return the day from which each one's usual began anew last; who has no such day is left out."""
    acts, _ = read_acts(home.root / "reviews.jsonl")
    found = begun_anew(home.read_register("staff"), acts)
    # Profiles are for the days after `day`: a role that begins tomorrow has begun.
    return dict(sorted((name, since) for name, since in found if since <= day_number(day) + 1))


def _since(begun: Mapping[str, int], table: pa.Table) -> pa.Table:
    names, person = np.unique(table["staff"].to_numpy(zero_copy_only=False), return_inverse=True)
    first = np.array([begun.get(str(name), 0) for name in names], dtype=np.int64)
    return table.filter(pa.array(table["day"].to_numpy() >= first[person]))


def listed(home: Home) -> list[str]:
    """Return the customers on the guarded list."""
    register = home.read_register("customer")
    return sorted(
        name
        for name, on in zip(register["customer"].to_pylist(), register["listed"].to_pylist(), strict=True)
        if on
    )


def _words(tallies: pa.Table) -> Mapping[str, tuple[str, ...]]:
    used: dict[str, set[str]] = {}
    kept = (tallies[name].to_pylist() for name in ("staff", "dimension", "word"))
    for staff, dimension, word in zip(*kept, strict=True):
        if dimension in _WORDS:
            used.setdefault(staff, set()).add(f"{dimension}:{word}")
    return {name: tuple(sorted(found)) for name, found in used.items()}


def _marks(home: Home, day: dt.date) -> dict[str, Marks]:
    related: dict[str, list[str]] = {}
    for row in home.read_register("relation").to_pylist():
        related.setdefault(row["staff"], []).append(row["customer"])
    made = {}
    for row in home.read_register("staff").to_pylist():
        ends = [row[name] for name in ("left_on", "dormant_since") if row[name] is not None]
        silenced = any(day_number(one) <= day_number(day) + 1 for one in ends)
        made[row["staff"]] = Marks(silenced, tuple(related.get(row["staff"], ())))
    return made
