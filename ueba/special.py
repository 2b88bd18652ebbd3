"""Evidence that counting acts does not give: repeats, pairs of people, borrowed desks, dwell. Pure."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ueba.rows import Rows, codes, numbers
from ueba.windows import STEP, Floats, Ints, Past, Window, number_keys

REPEAT_DAYS = 14
"""Source: research/ueba.md §1.1, bank rules: the same account over N days; N as for L13."""
PAIR_DAYS = 60
"""How long a pair of looker and approver is remembered. Source: our choice, the own window's length."""
DESK_DAYS = 14
"""How long days at one colleague's desk are remembered. Source: research/ueba.md §2.3, L6, alternating days;
our choice of a fortnight, in which they come again."""
FOLLOW_DAYS = 14
"""How long after a look an approval counts as following it. Source: research/ueba.md §2.3, L13."""
_DAY_SD = 0.12
"""Spread of a person's mean log dwell from day to day. Source: our choice; below it nothing is said."""
_FEW_DWELLS = 10
OWNER_SHARE, OWNER_LEAST, OWNER_STEP = 0.8, 50, 10
"""A terminal has an owner when one person made this share of at least so many events there; looked up anew
every so many days. Source: our choice; a pool's desk has many users."""


def count_special(
    tallies: pa.Table, looks: pa.Table, acts: pa.Table, rows: Rows
) -> tuple[Floats, dict[str, tuple[str, Floats, int]]]:
    """Return the day's events at borrowed desks, and counts by name: kind of behaviour, values, and over how
    many days they are accumulated evidence by their nature (0: of today only)."""
    events, desk_days = borrowed(tallies, rows)
    counted = {
        "repeat_14_days": ("repeat", repeats(looks, rows), 0),
        "dormant_14_days": ("record", dormant_looks(looks, rows), REPEAT_DAYS),
        "desk_days": ("device", desk_days, 0),
    }
    return events, counted | {
        name: ("pair", values, PAIR_DAYS) for name, values in pairs(looks, acts, rows).items()
    }


def borrowed(tallies: pa.Table, rows: Rows) -> tuple[Floats, Floats]:
    """Return the day's events at terminals that were somebody else's own by the end of the gapped window, and
    the days at the desks of the same colleague in the last DESK_DAYS, today's included (0 without one today).
    """
    events, again = np.zeros(len(rows.day)), np.zeros(len(rows.day))
    terminals = tallies.filter(pc.equal(tallies["dimension"], "terminal"))
    if not len(terminals):
        return events, again
    _, person = codes(terminals["staff"], rows.staff)
    names, word = codes(terminals["word"])
    day, count = numbers(terminals, "day"), numbers(terminals, "n")
    owner = _owners(person, word, day, count, rows=rows, words=len(names))
    others = (owner >= 0) & (owner != person)
    person, owner, day = person[others], owner[others], day[others]
    row = rows.of(person, day)
    np.add.at(events, row, count[others])
    keys = number_keys(person, owner)
    _, first = np.unique(number_keys(keys, day), return_index=True)
    seen = Past(keys[first], day[first], np.ones(len(first))).sums(keys, day, Window(DESK_DAYS, -1))
    np.maximum.at(again, row, seen)
    return events, again


def _owners(person: Ints, word: Ints, day: Ints, count: Ints, *, rows: Rows, words: int) -> Ints:
    """Return whose own each row's terminal was by the end of the row's gapped window, -1 where nobody's."""
    made = np.full(len(day), -1)
    _, ends = rows.window.edges(day)
    blocks = ends // OWNER_STEP * OWNER_STEP
    for end in np.unique(blocks):
        past = (day >= end - rows.window.length) & (day < end)
        pairs, inverse = np.unique(word[past] * len(rows.staff) + person[past], return_inverse=True)
        used = np.bincount(inverse, count[past], len(pairs))
        of_word, by = pairs // len(rows.staff), pairs % len(rows.staff)
        total = np.bincount(of_word, used, words)
        owner = np.full(words, -1)
        owns = (used >= OWNER_SHARE * total[of_word]) & (used >= OWNER_LEAST)
        owner[of_word[owns]] = by[owns]
        now = blocks == end
        made[now] = owner[word[now]]
    return made


def repeats(looks: pa.Table, rows: Rows) -> Floats:
    """Most bare looks at one customer in the last fortnight, today's included."""
    _, person = codes(looks["staff"], rows.staff)
    day, n = numbers(looks, "day"), numbers(looks, "n").astype(float)
    keys = number_keys(person, codes(looks["customer"])[1])
    seen = Past(keys, day, n).sums(keys, day, Window(REPEAT_DAYS, -1))
    made = np.zeros(len(rows.day))
    np.maximum.at(made, rows.of(person, day), seen)
    return made


def dormant_looks(looks: pa.Table, rows: Rows) -> Floats:
    """Dormant customers looked at barely in the last REPEAT_DAYS, today's included; 0 without one today."""
    found = looks.filter(pc.greater(looks["dormant"], 0))
    _, person = codes(found["staff"], rows.staff)
    day = numbers(found, "day")
    made = np.zeros(len(rows.day))
    if len(day):
        seen = Past(person, day, np.ones(len(day))).sums(person, day, Window(REPEAT_DAYS, -1))
        made[rows.of(person, day)] = seen
    return made


def pairs(looks: pa.Table, acts: pa.Table, rows: Rows) -> dict[str, Floats]:
    """Customers of the last PAIR_DAYS whom one looked at barely and the same other then approved or paid.

    Counted on the later act's day for both; the looker must have come in that day. `pair` are all of them,
    `pair_approved` those with an approval, `pair_same_day` those with both on one day, whichever came first,
    `pair_approved_same_day` those that are both: payments are many, approvals few, and a day is short, so
    each is as rare as it is.
    """
    names = ("pair", "pair_approved", "pair_same_day", "pair_approved_same_day")
    dormant = looks.filter(pc.greater(looks["dormant"], 0)).select(["staff", "day", "customer", "first_s"])
    both = acts.join(
        dormant.rename_columns(["looker", "looked", "customer", "first_s"]), "customer", join_type="inner"
    )
    both = both.sort_by([("day", "ascending"), ("staff", "ascending"), ("looker", "ascending")])
    _, actor = codes(both["staff"], rows.staff)
    _, looker = codes(both["looker"], rows.staff)
    _, customer = codes(both["customer"])
    day, looked = numbers(both, "day"), numbers(both, "looked")
    others = (actor != looker) & (looked <= day)
    follows = others & (numbers(both, "first_s") <= numbers(both, "last_s")) & (day - looked <= FOLLOW_DAYS)
    approved, same_day = numbers(both, "approvals") > 0, others & (day == looked)
    chosen = (follows, follows & approved, same_day, same_day & approved)
    return {
        name: _count_pairs(actor[of], looker[of], customer[of], day[of], rows)
        for name, of in zip(names, chosen, strict=True)
    }


def _count_pairs(actor: Ints, looker: Ints, customer: Ints, day: Ints, rows: Rows) -> Floats:
    made = np.zeros(len(rows.day))
    if not len(actor):
        return made
    _, first = np.unique(number_keys(actor, looker, customer, day), return_index=True)
    actor, looker, day = actor[first], looker[first], day[first]
    keys = number_keys(actor, looker)
    n = Past(keys, day, np.ones(len(day))).sums(keys, day, Window(PAIR_DAYS, -1))
    for person in (actor, looker):
        row = rows.of(person, day)
        np.maximum.at(made, row[row >= 0], n[row >= 0])
    return made


def dwell(table: pa.Table, rows: Rows) -> tuple[Floats, Floats, Floats, Floats]:
    """Return z of the mean log dwell, narrowness of its spread, today's mean and the usual one (seconds)."""
    n = numbers(table, "dwells").astype(float)
    total, squares = numbers(table, "dwell_log_sum") / 1000.0, numbers(table, "dwell_log_squares") / 1e6
    stacked = np.stack([n, np.rint(total / STEP) * STEP, np.rint(squares / STEP) * STEP], axis=1)
    stacked *= rows.trusted[:, None]

    def moments(key: Ints) -> tuple[Floats, Floats, Floats]:
        found = Past(key, rows.day, stacked).sums(key, rows.day, rows.window)
        count = np.maximum(found[:, 0], 1.0)
        mean = found[:, 1] / count
        return found[:, 0], mean, np.maximum(found[:, 2] / count - mean**2, 0.0)

    own_n, own, own_var = moments(rows.own_key)
    peers_n, peers, peers_var = moments(rows.role)
    k = 100.0
    usual = (own_n * own + k * peers) / (own_n + k)
    variance = (own_n * own_var + k * peers_var) / (own_n + k) + 1e-6
    today = total / np.maximum(n, 1.0)
    known = (n >= _FEW_DWELLS) & (peers_n >= k)
    z = np.where(known, (today - usual) / np.sqrt(variance / np.maximum(n, 1.0) + _DAY_SD**2), 0.0)
    spread = np.sqrt(np.maximum(squares / np.maximum(n, 1.0) - today**2, 1e-4))
    narrow = np.where(known, -np.log(spread / np.sqrt(variance)) * np.sqrt(2 * n), 0.0)
    return np.clip(z, -50, 50), narrow, np.exp(today) / 1000.0, np.exp(usual) / 1000.0
