"""Small day figures made by hand or by chance, without any engine."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from ueba.features.tables import COUNTS, DayTables

BARE = pa.schema([("staff", pa.string()), ("day", pa.int64()), ("customer", pa.string()), ("n", pa.int64()),
                  ("dormant", pa.int64()), ("first_s", pa.int64())])  # fmt: skip
ACTS = pa.schema(
    [
        ("staff", pa.string()),
        ("day", pa.int64()),
        ("customer", pa.string()),
        ("last_s", pa.int64()),
        ("approvals", pa.int64()),
    ]
)


def make_tables(staff: int, days: int, seed: int, roles: tuple[str, ...] = ("clerk", "officer")) -> DayTables:
    """Ordinary days of some staff: Poisson counts, words out of ten."""
    rng = np.random.default_rng(seed)
    rows, words, bare = [], [], []
    for person in range(staff):
        name, role = f"p{person:05d}", roles[person % len(roles)]
        for day in range(100, 100 + days):
            counts = {one: int(rng.poisson(3)) for one in COUNTS}
            counts["dwells"] = 20
            logs = rng.normal(10_000, 700, 20).astype(int)
            counts["dwell_log_sum"], counts["dwell_log_squares"] = int(logs.sum()), int((logs**2).sum())
            rows.append({"staff": name, "day": day, "role": role, "branch": f"b{person % 3}"} | counts)
            for dimension in ("hour", "terminal", "action"):
                for word in sorted(set(rng.integers(0, 10, 3))):
                    used = {"word": f"{word}", "n": int(rng.integers(1, 9)), "dimension": dimension}
                    words.append({"staff": name, "day": day} | used)
            bare.append({"staff": name, "day": day, "customer": f"c{rng.integers(0, 40)}", "n": 1,
                         "dormant": int(rng.random() < 0.2), "first_s": day * 86_400})  # fmt: skip
    acts = [
        {"staff": one["staff"], "day": one["day"], "customer": f"c{rng.integers(0, 40)}",
         "last_s": one["day"] * 86_400 + 9, "approvals": one["day"] % 2}
        for one in bare[::7]
    ]  # fmt: skip
    return DayTables(
        pa.Table.from_pylist(rows),
        pa.Table.from_pylist(words),
        pa.Table.from_pylist(bare, schema=BARE),
        pa.Table.from_pylist(acts, schema=ACTS),
    )


def change(tables: DayTables, keep: "pa.compute.Expression", seed: int) -> DayTables:
    """Keep the rows of some days; every other day is drawn anew from the seed, half its words never seen."""
    days = tables.staff_days["day"].to_numpy()
    other = make_tables(len(set(tables.staff_days["staff"].to_pylist())), len(set(days)), seed)
    words = [f"new-{seed}-{one}" if one in "02468" else one for one in other.tallies["word"].to_pylist()]
    place = other.tallies.column_names.index("word")
    other = replace(other, tallies=other.tallies.set_column(place, "word", pa.array(words)))
    names = ("staff_days", "tallies", "bare_looks", "money_acts")
    return DayTables(
        *(
            pa.concat_tables([getattr(tables, name).filter(keep), getattr(other, name).filter(~keep)])
            for name in names
        )
    )


def shuffle(tables: DayTables, seed: int) -> DayTables:
    """The same rows in another order."""
    rng = np.random.default_rng(seed)
    names = ("staff_days", "tallies", "bare_looks", "money_acts")
    found = (getattr(tables, name) for name in names)
    return DayTables(*(table.take(pa.array(rng.permutation(len(table)))) for table in found))
