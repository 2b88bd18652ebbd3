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
FOLLOW_DAYS = 14
"""How long after a look an approval counts as following it. Source: research/ueba.md §2.3, L13."""
_DAY_SD = 0.12
"""Spread of a person's mean log dwell from day to day. Source: our choice; below it nothing is said."""
_FEW_DWELLS = 10
OWNER_SHARE, OWNER_LEAST, OWNER_STEP = 0.8, 50, 10
"""A terminal has an owner when one person made this share of at least so many events there; looked up anew
every so many days. Source: our choice; a pool's desk has many users."""


def borrowed(tallies: pa.Table, rows: Rows) -> Floats:
    """Events at terminals that were somebody else's own by the end of the gapped window."""
    made = np.zeros(len(rows.day))
    terminals = tallies.filter(pc.equal(tallies["dimension"], "terminal"))
    if not len(terminals):
        return made
    _, person = codes(terminals["staff"], rows.staff)
    names, word = codes(terminals["word"])
    day, count = numbers(terminals, "day"), numbers(terminals, "n")
    row = rows.of(person, day)
    _, ends = rows.window.edges(day)
    blocks = ends // OWNER_STEP * OWNER_STEP
    for end in np.unique(blocks):
        past = (day >= end - rows.window.length) & (day < end)
        pairs, inverse = np.unique(word[past] * len(rows.staff) + person[past], return_inverse=True)
        used = np.bincount(inverse, count[past], len(pairs))
        of_word, by = pairs // len(rows.staff), pairs % len(rows.staff)
        total = np.bincount(of_word, used, len(names))
        owner = np.full(len(names), -1)
        owns = (used >= OWNER_SHARE * total[of_word]) & (used >= OWNER_LEAST)
        owner[of_word[owns]] = by[owns]
        now = blocks == end
        others = now & (owner[word] >= 0) & (owner[word] != person)
        np.add.at(made, row[others], count[others])
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


def pairs(looks: pa.Table, acts: pa.Table, rows: Rows) -> Floats:
    """Customers of the last PAIR_DAYS whom a person looked at barely and the same other then approved.

    Counted on the approval's day for both; the looker must have come in that day.
    """
    made = np.zeros(len(rows.day))
    dormant = looks.filter(pc.greater(looks["dormant"], 0)).select(["staff", "day", "customer", "first_s"])
    both = acts.join(
        dormant.rename_columns(["looker", "looked", "customer", "first_s"]), "customer", join_type="inner"
    )
    if not len(both):
        return made
    both = both.sort_by([("day", "ascending"), ("staff", "ascending"), ("looker", "ascending")])
    _, actor = codes(both["staff"], rows.staff)
    _, looker = codes(both["looker"], rows.staff)
    day, looked = numbers(both, "day"), numbers(both, "looked")
    follows = (numbers(both, "first_s") <= numbers(both, "last_s")) & (day - looked <= FOLLOW_DAYS)
    follows &= actor != looker
    if not follows.any():
        return made
    customer = np.array(both["customer"].to_pylist(), dtype=object).astype(str)[follows]
    actor, looker, day = actor[follows], looker[follows], day[follows]
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
