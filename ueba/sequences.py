"""Events of any kind through the same pipeline: who, when, what, optional attributes; labels to judge by.

Time is an instant or a whole number; a step is a day, or so many events of the same entity. Nothing but
this description is known of the organisation.
"""

import csv
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ueba.errors import UebaError
from ueba.evidence import Domain, Evidence, compute_evidence
from ueba.familiar import Step, Unfamiliar, compute_unfamiliar
from ueba.features.tables import DayTables
from ueba.judge import DRAWS, at_budgets, bootstrap_by_entity
from ueba.rows import codes, numbers
from ueba.scoring import fit_model, score_days
from ueba.settings import Settings, day_number
from ueba.store import REGISTERS
from ueba.windows import Floats, Ints

BUDGETS = (1, 2, 3)
"""Reviews a step that precision is told for. Source: research/ueba.md §4.4."""
MOST_DETAILS = 100
"""Most frequent actions of the training steps that are counted apart. Source: our choice; rarity sees all."""


def read_events(file: Path, block: int | None) -> tuple[pa.Table, list[str]]:
    """Return entity, step, action and attributes of a CSV or JSON-lines file, and the attributes' names.

    `block`: events of one entity in a step; None: a step is a UTC day. UebaError names what is missing or
    cannot be read.
    """
    try:
        return _read_events(duckdb.connect(), file, block)
    except duckdb.Error as error:
        raise UebaError(f"{file}: {str(error).splitlines()[0]}") from error


def _read_events(con: duckdb.DuckDBPyConnection, file: Path, block: int | None) -> tuple[pa.Table, list[str]]:
    source = (
        con.read_csv(str(file), all_varchar=True, header=True)
        if file.suffix == ".csv"
        else con.read_json(str(file))
    )
    missing = {"entity", "time", "action"} - set(source.columns)
    if missing:
        raise UebaError(f"{file}: no column {', '.join(sorted(missing))}; needs entity, time, action")
    attributes = [
        name for name in source.columns if name not in ("entity", "time", "action", "peers", "label")
    ]
    step = (
        "(row_number() over (partition by entity order by try_cast(time as bigint), time) - 1) "
        f"// {int(block)}"
        if block
        else "date_diff('day', date '1970-01-01', cast(cast(time as timestamptz) as date))"
    )
    peers = "cast(peers as varchar)" if "peers" in source.columns else "'everyone'"
    quoted = [_quoted(name, chr(34)) for name in attributes]
    chosen = ", ".join(f"cast({name} as varchar) as {name}" for name in quoted)
    made = con.sql(
        f"select cast(entity as varchar) as staff, {step} as day, {peers} as role, "  # noqa: S608
        f"cast(action as varchar) as action{', ' + chosen if chosen else ''} from source order by staff, day"
    )
    return made.to_arrow_table(), attributes


def make_tables(events: pa.Table, attributes: Sequence[str], train_before: int) -> tuple[DayTables, Domain]:
    """Return the day figures and tallies of any events: totals, frequent actions apart, words for rarity."""
    con = duckdb.connect()
    con.register("events", events)
    top = con.execute(
        "select action from events where day < ? group by 1 "
        "order by count(distinct staff) desc, count(*) desc, 1 limit ?",
        [train_before, MOST_DETAILS],
    ).fetchall()
    details = {f"n:{action}": action for (action,) in top}
    counts = ", ".join(
        f"count(*) filter (action = {_quoted(action)}) as {_quoted(name, chr(34))}"
        for name, action in details.items()
    )
    days = con.sql(
        f"select staff, day, min(role) as role, 'all' as branch, count(*) as events, "  # noqa: S608
        f"count(distinct action) as kinds{', ' + counts if counts else ''} from events group by staff, day"
    ).to_arrow_table()
    parts = [
        "select staff, day, action as word, 'action' as dimension, count(*) as n from events group by all"
    ]
    parts += [
        f"select staff, day, cast({column} as varchar) as word, {_quoted(name)} as dimension, "  # noqa: S608
        f"count(*) as n from events where {column} is not null group by all"
        for name in attributes
        if (column := _quoted(name, chr(34)))
    ]
    tallies = con.sql(" union all ".join(parts) + " order by dimension, staff, day, word").to_arrow_table()
    rare = {"action": "rarity", **{name: f"rarity of {name}" for name in attributes}}
    plain = tuple(f"{name}:{kind}" for name in rare for kind in ("novelty", "novelty_sum"))
    domain = Domain(
        counted={"events": "volume", "kinds": "volume"} | dict.fromkeys(details, "actions"),
        rare=rare,
        plain=plain,
        details=tuple(details),
    )
    empty = pa.table({})
    return DayTables(days, tallies, empty, empty), domain


def _quoted(text: str, mark: str = "'") -> str:
    return mark + text.replace(mark, mark * 2) + mark


@dataclass(frozen=True, slots=True)
class Judged:
    """Steps after the training ones with their scores by name, ready to be compared with labels."""

    entity: list[str]
    person: Ints
    step: Ints
    scores: dict[str, Floats]


def score_sequences(tables: DayTables, domain: Domain, train_before: int, settings: Settings) -> Judged:
    """Fit on the steps before `train_before`, score the others: each detector, rarity, and the whole."""
    settings = replace(settings, score=replace(settings.score, fit_days=train_before))
    evidence = compute_evidence(tables, settings, frozen_before=train_before, domain=domain)
    model = fit_model(evidence, train_before - 1, settings)
    rows = evidence.rows_between(train_before, int(evidence.day.max()))
    scores = score_days(evidence, model, rows, REGISTERS["staff"].empty_table(), settings)
    inputs = evidence.values[rows][
        :, [i for i, c in enumerate(evidence.columns) if c.over in ("today", "detail")]
    ]
    each = model.detectors.each(inputs)
    named = {name: each[:, place] for place, name in enumerate(model.detectors.names)}
    named["detectors together"] = scores.detector
    for index, column in enumerate(evidence.columns):
        if column.over == "plain":
            named[column.measure] = evidence.values[rows, index].astype(float)
    named["layers, today"], named["layers, accumulated"] = scores.fresh, scores.slow
    found = _unfamiliar(tables.tallies, evidence, train_before)
    named["own profile, growing"], named["whole"] = found.own_z[rows], found.carried[rows]
    return Judged(evidence.staff, evidence.person[rows], evidence.day[rows], named)


def _unfamiliar(tallies: pa.Table, evidence: Evidence, train_before: int) -> Unfamiliar:
    """Return the unfamiliarity of every row of the evidence, over the words of all dimensions."""
    ordered = tallies.sort_by([("staff", "ascending"), ("day", "ascending")])
    _, person = codes(ordered["staff"], evidence.staff)
    day, count = numbers(ordered, "day"), numbers(ordered, "n").astype(float)
    both = pc.binary_join_element_wise(ordered["dimension"], ordered["word"], ":")
    names, word = codes(both)
    place = person * (1 << 20) + day
    row = np.searchsorted(evidence.person * (1 << 20) + evidence.day, place)
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    steps: list[list[Step]] = [[] for _ in evidence.staff]
    for low, high in zip(starts, [*starts[1:], len(place)], strict=True):
        steps[int(person[low])].append(Step(int(row[low]), word[low:high], count[low:high]))
    training = [sum(1 for step in mine if evidence.day[step.row] < train_before) for mine in steps]
    return compute_unfamiliar(steps, len(names), len(evidence), training)


def read_step(text: str) -> int:
    """Return a step that is told as a whole number or as a day (2026-04-30); ValueError for anything else."""
    return int(text) if text.isdecimal() else day_number(dt.date.fromisoformat(text))


def read_labels(file: Path, judged: Judged) -> tuple[Ints, Ints]:
    """Return the judged rows that have a label (entity, step or time, label in a CSV file), and their labels;
    UebaError names what is missing or wrong."""
    place = {
        (judged.entity[int(p)], int(s)): i
        for i, (p, s) in enumerate(zip(judged.person, judged.step, strict=True))
    }
    rows, labels = [], []
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        header = set(reader.fieldnames or ())
        if not {"entity", "label"} <= header or not header & {"step", "time"}:
            raise UebaError(
                f"{file}: header has {', '.join(sorted(header))}; needs entity, step (or time), label"
            )
        for line in reader:
            try:
                step = read_step(line["step"] if "step" in header else line["time"][:10])
                label = ("0", "1").index(line["label"])
            except ValueError as error:
                raise UebaError(
                    f"{file}, line {reader.line_num}: {error}; needs a step or time, and label 0 or 1"
                ) from error
            row = place.get((line["entity"], step))
            if row is not None:
                rows.append(row)
                labels.append(label)
    if not any(labels) or all(labels):
        raise UebaError(
            f"{file}: {len(rows)} labels fit the scored steps, {sum(labels)} are 1; needs both kinds"
        )
    order = np.argsort(rows)
    return np.array(rows)[order], np.array(labels)[order]


def judge(judged: Judged, rows: Ints, label: Ints, seed: int, draws: int = DRAWS) -> list[dict[str, Any]]:
    """Return AUC, average precision, and precision and found entities at k reviews a step, by score, each
    with its interval."""
    entity, step = judged.person[rows], judged.step[rows]
    made = []
    for name, score in judged.scores.items():
        figures = bootstrap_by_entity(entity, label, score[rows], seed=seed, draws=draws)
        row: dict[str, Any] = {"score": name, **{key: value.plain() for key, value in figures.items()}}
        found = at_budgets(entity, step, label, score[rows], budgets=BUDGETS, seed=seed, draws=draws)
        made.append(row | {f"at_{k}": one.plain() for k, one in found.items()})
    return made
