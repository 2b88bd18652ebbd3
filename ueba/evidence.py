"""Evidence: for each person and day, how unusual it was in many respects, each a column. Pure.

A column is about one kind of behaviour (its family), says what was counted (its measure), and over
which time (today, or accumulated with a half-life). Larger is stranger; what is usual is near 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ueba import special
from ueba.baseline import Usual, compute_usual, subtract_peers_day
from ueba.features.tables import DayTables
from ueba.rarity import COLUMNS as KINDS
from ueba.rarity import Words, by_row, compute_surprise
from ueba.rows import Rows, codes, numbers
from ueba.settings import Settings
from ueba.windows import SPAN, Floats, Ints, Matrix, Past, Window, accumulate, number_keys, to_steps


@dataclass(frozen=True, slots=True)
class Domain:
    """Which measures there are, and of what kind of behaviour (family) each speaks. One kind counts once.

    `counted` are columns of the day figures, `rare` dimensions of the tallies; `plain` measures are also
    judged without the own usual (who always did it is not excused); `details` feed the detectors only.
    """

    counted: Mapping[str, str]
    rare: Mapping[str, str]
    kinds: Mapping[str, tuple[str, ...]] | None = None
    """Which of rarity's columns are taken by dimension (novelty_sum where none is named); None: all."""
    plain: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()
    """Measures that are not accumulated: a new word (a device, an hour) stays new for weeks, until the gap
    has passed it; adding that up would count one thing many times."""
    of_lending: bool = False
    """Whether dwell, repeats, pairs and borrowed desks are looked at too."""


_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "volume": ("events", "looks", "customers", "lists", "fields_shown", "unmasks"),
    "search": ("searches", "unfollowed"),
    "export": ("exports", "export_rows"),
    "unassigned": ("outside", "bare"),
    "region": ("foreign", "foreign_bare"),
    "record": ("odd_state", "dormant_bare", "listed_bare", "viewers"),
    "relation": ("related_bare",),
    "dwell": ("quick", "long"),
    "hours": ("night", "night_rows"),
    "device": ("overlap",),
    "repeat": ("repeat_bare",),
    "money": ("pays", "approvals"),
    "failure": ("denied", "break_glass_bare"),
}
LENDING = Domain(
    counted={name: family for family, names in _FAMILIES.items() for name in names},
    rare={
        "action": "volume",
        "hour": "hours",
        "terminal": "device",
        "customer_branch": "region",
        "segment": "region",
        "purpose": "purpose",
        "export_hour": "hours",
    },
    kinds={"hour": ("novelty_sum", "surprise_peak"), "export_hour": ("novelty_sum", "surprise_peak")},
    plain=(
        "listed_bare",
        "related_bare",
        "viewers",
        "night_rows",
        "overlap",
        "repeat_bare",
        "export_rows",
        "dormant_bare",
    ),
    passing=(
        *(f"{name}:novelty_sum" for name in ("terminal", "action", "hour", "customer_branch")),
        *(f"{name}:novelty_sum" for name in ("segment", "purpose", "export_hour")),
        *(f"{name}:surprise_peak" for name in ("hour", "export_hour")),
    ),
    of_lending=True,
)
_BLOCK = 12


@dataclass(frozen=True, slots=True)
class Column:
    """What a column of evidence is about."""

    family: str
    measure: str
    over: str
    """`today`, `plain` (today without an own usual), or `h3`, `h10`: accumulated, half-life in days."""

    @property
    def slow(self) -> bool:
        """Return whether it is accumulated evidence."""
        return self.over.startswith("h")

    @property
    def least(self) -> float:
        """Return the value below which it says nothing: 1 standard deviation, or any plain count."""
        return 0.5 if self.over == "plain" else 1.0


@dataclass(frozen=True, slots=True)
class Distrust:
    """Days of a person that must not become usual: a case is open, or was found to be misuse."""

    staff: str
    first: int
    last: int


Anew = Sequence[tuple[str, int]]
"""A member of staff and a day from which the own usual begins anew: another role, by register or review."""


@dataclass(slots=True)
class Evidence:
    """Rows are staff-days, sorted by staff and day; `usual` is of the measures in `measures`."""

    staff: list[str]
    roles: list[str]
    person: Ints
    role: Ints
    branch: Ints
    day: Ints
    columns: list[Column]
    values: Matrix
    measures: list[str]
    raw: Matrix
    own: Matrix
    peers: Matrix
    periods: Floats

    def __len__(self) -> int:
        return len(self.day)

    def rows_between(self, first: int, last: int) -> Ints:
        """Return the rows of days `first` to `last`."""
        return np.flatnonzero((self.day >= first) & (self.day <= last))

    def rows_of(self, distrusted: Sequence[Distrust]) -> Ints:
        """Return the rows of days that must not be learnt from."""
        rows = [np.zeros(0, dtype=np.int64)]
        for one in distrusted:
            if one.staff in self.staff:
                between = self.rows_between(one.first, one.last)
                rows.append(between[self.person[between] == self.staff.index(one.staff)])
        return np.unique(np.concatenate(rows))

    def find(self, staff: str, day: int) -> int | None:
        """Return the row of a person's day."""
        if staff not in self.staff:
            return None
        found = np.flatnonzero((self.person == self.staff.index(staff)) & (self.day == day))
        return int(found[0]) if len(found) else None


def compute_evidence(
    tables: DayTables,
    settings: Settings,
    *,
    distrusted: Sequence[Distrust] = (),
    anew: Anew = (),
    frozen_before: int | None = None,
    domain: Domain = LENDING,
) -> Evidence:
    """Return the evidence of every staff-day in the tables; with `frozen_before` the usual is that of all
    days before it (data whose clean part is known)."""
    rows, table = _make_rows(tables.staff_days, settings, distrusted, anew, frozen_before)
    scaled, raw, families = _measure(table, tables, rows, domain)
    counted: dict[str, tuple[str, Floats, int]] = {}
    if domain.of_lending:
        name = "terminal:borrowed"
        raw[name], counted = special.count_special(tables.tallies, tables.bare_looks, tables.money_acts, rows)
        scaled[name], families[name] = np.log1p(raw[name]), "device"
    measures = list(scaled)
    matrix = to_steps(np.stack([scaled[name] for name in measures], axis=1))
    rare = [name not in domain.counted for name in measures]
    z, usual = _own_z(matrix, rows, rare)
    # What is wrong about a newcomer's usual is wrong every day, and would add up as misuse does.
    seasoned = (usual.periods / (usual.periods + settings.baseline.shrink_weight))[:, None]
    z[:, rare] *= seasoned
    plain = {name: (families[name], scaled[name]) for name in domain.plain}
    shown: dict[str, tuple[Floats, Floats | None]] = {}
    named = measures
    if domain.of_lending:
        dwell_z, dwell_narrow, dwell_mean, dwell_usual = special.dwell(table, rows)
        z, named, families["dwell_mean"] = np.column_stack([z, dwell_z]), [*measures, "dwell_mean"], "dwell"
        shown = {"dwell_mean": (dwell_mean, dwell_usual)}
        shown |= {name: (values, None) for name, (_, values, _) in counted.items()}
        plain["dwell_narrow"] = ("dwell", dwell_narrow)
        plain |= {name: (family, values) for name, (family, values, _) in counted.items()}
    z = subtract_peers_day(z, rows)
    if domain.of_lending:
        plain["dwell_away"] = ("dwell", np.abs(z[:, -1]))
    columns = [
        Column(families[name], name, "detail" if name in domain.details else "today") for name in named
    ]
    blocks = [z]
    adding = [i for i, name in enumerate(named) if name not in (*domain.details, *domain.passing)]
    for half_life in settings.score.half_lives:
        columns += [Column(families[named[index]], named[index], f"h{half_life:g}") for index in adding]
        limited = np.clip(z[:, adding], -3.0, 6.0) * seasoned
        blocks.append(accumulate(rows.own_key, rows.day, limited, half_life))
    columns += [Column(family, name, "plain") for name, (family, _) in plain.items()]
    blocks += [values[:, None] for _, values in plain.values()]
    for name, (family, lasting, days) in counted.items():
        if days:
            columns.append(Column(family, name, f"h{days}"))
            blocks.append(lasting[:, None])
    values = np.concatenate(blocks, axis=1).astype(np.float32)
    names, own, peers, seen = _figures(measures, raw, usual, shown)
    return Evidence(
        rows.staff, rows.roles, rows.person, rows.role, rows.branch, rows.day, columns, values, names, seen,
        own, peers, usual.periods,
    )  # fmt: skip


def _make_rows(
    table: pa.Table,
    settings: Settings,
    distrusted: Sequence[Distrust],
    anew: Anew,
    frozen_before: int | None,
) -> tuple[Rows, pa.Table]:
    table = table.sort_by([("staff", "ascending"), ("day", "ascending")])
    staff, person = codes(table["staff"])
    roles, role = codes(table["role"])
    _, branch = codes(table["branch"])
    day = numbers(table, "day")
    trusted = np.ones(len(day))
    for one in distrusted:
        if one.staff in staff:
            trusted[(person == staff.index(one.staff)) & (day >= one.first) & (day <= one.last)] = 0.0
    window = Window(settings.baseline.window, settings.baseline.gap, frozen_before)
    # A new role is a new baseline: the own past counts within the role only, and since it began.
    own_key = number_keys(person, role, _count_begun(staff, person, day, anew))
    return Rows(staff, roles, person, own_key, role, branch, day, window, settings, trusted), table


def _count_begun(staff: Sequence[str], person: Ints, day: Ints, anew: Anew) -> Ints:
    """Return by row how often the person's usual had begun anew by that day."""
    place = {name: index for index, name in enumerate(staff)}
    begun = [place[name] * SPAN + since for name, since in anew if name in place]
    ordered = np.sort(np.array(begun, dtype=np.int64))
    by_then = np.searchsorted(ordered, person * SPAN + day, side="right")
    return np.asarray(by_then - np.searchsorted(ordered, person * SPAN))


def _measure(
    table: pa.Table, tables: DayTables, rows: Rows, domain: Domain
) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, str]]:
    """Return the measures on a scale where means make sense, as people are shown them, and their families."""
    raw = {name: numbers(table, name).astype(float) for name in domain.counted}
    families = dict(domain.counted)
    scaled = {name: np.log1p(values) for name, values in raw.items()}
    for name, family, values in _rare_columns(tables.tallies, rows, domain):
        scaled[name], raw[name], families[name] = values, values, family
    return scaled, raw, families


def _figures(
    measures: list[str], raw: dict[str, Floats], usual: Usual, shown: dict[str, tuple[Floats, Floats | None]]
) -> tuple[list[str], Matrix, Matrix, Matrix]:
    """Return what people are shown: names, own usual, peers' usual, value."""
    counted = np.array([name.split(":")[0] == name for name in measures])
    own = np.where(counted, np.expm1(np.clip(usual.own, None, 20)), usual.own)
    peers = np.where(counted, np.expm1(np.clip(usual.peers, None, 20)), usual.peers)
    nothing = np.full(len(own), np.nan)
    seen = np.stack([*(raw[name] for name in measures), *(value for value, _ in shown.values())], axis=1)
    extra = [nothing if one is None else one for _, one in shown.values()]
    return (
        [*measures, *shown],
        np.column_stack([own, *extra]).astype(np.float32),
        np.column_stack([peers, *[nothing] * len(shown)]).astype(np.float32),
        seen.astype(np.float32),
    )


def _own_z(matrix: Floats, rows: Rows, rare: Sequence[bool]) -> tuple[Floats, Usual]:
    """Return own z-scores and the usual, some columns at a time for the sake of memory.

    Columns of rarity (after the others) become usual from the days on whose past is long enough to learn
    from: while little is known everything is new, and a spread learnt from that hides all that is strange.
    """
    parts = []
    split = rare.index(True) if True in rare else len(rare)
    for first, end, of in ((0, split, rows), (split, len(rare), _known_long_enough(rows))):
        for start in range(first, end, _BLOCK):
            parts.append(compute_usual(of, matrix[:, start : min(start + _BLOCK, end)]))
    usual = Usual(
        np.concatenate([part.own for part in parts], axis=1),
        np.concatenate([part.sd for part in parts], axis=1),
        np.concatenate([part.peers for part in parts], axis=1),
        np.concatenate([part.peers_sd for part in parts], axis=1),
        parts[0].periods,
    )
    return np.clip((matrix - usual.own) / usual.sd, -50.0, 50.0), usual


def _known_long_enough(rows: Rows) -> Rows:
    """Return the rows with those distrusted that have too little of an own past; a frozen past is known."""
    if rows.window.frozen_before is not None:
        return rows
    past = Past(rows.own_key, rows.day, rows.trusted).sums(rows.own_key, rows.day, rows.window)
    least = min(rows.settings.score.least_periods, rows.window.length // 3)
    return replace(rows, trusted=rows.trusted * (past >= least))


def _rare_columns(tallies: pa.Table, rows: Rows, domain: Domain) -> list[tuple[str, str, Floats]]:
    made = []
    known, dimensions = codes(tallies["dimension"])
    _, person = codes(tallies["staff"], rows.staff)
    day, count = numbers(tallies, "day"), numbers(tallies, "n").astype(float)
    _, word = codes(tallies["word"])
    for dimension in sorted(set(known) & set(domain.rare)):
        chosen = np.flatnonzero(dimensions == known.index(dimension))
        row = rows.of(person[chosen], day[chosen])
        words = Words(
            rows.own_key[row], rows.role[row], day[chosen], word[chosen], count[chosen], rows.trusted[row]
        )
        surprise = compute_surprise(words, rows.window, 5.0)
        columns = by_row(row, len(rows.day), words.count, surprise)
        family = domain.rare[dimension]
        for index, name in enumerate(KINDS):
            if domain.kinds is not None and name not in domain.kinds.get(dimension, ("novelty_sum",)):
                continue
            made.append((f"{dimension}:{name}", family, to_steps(columns[:, index])))
    return made
