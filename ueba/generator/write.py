"""Write a made-up organisation into an event store: events by day, registers, labels."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ueba.errors import UebaError
from ueba.generator.ordinary import ACTIONS, PURPOSES, Batch, is_working, join, make_ordinary
from ueba.generator.organisation import (
    NEVER,
    ROLES,
    SEGMENTS,
    STATES,
    Ints,
    Organisation,
    date_of,
    make_organisation,
)
from ueba.generator.scenarios import ALWAYS, INJECT, Case, Scene, plan_cases
from ueba.store import EVENTS, REGISTERS, Home, write_table

UTC_OFFSET_S = 8 * 3600
LEAST_DAYS = 25


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made. `cases` of every scenario and intensity, begun from day `first` on."""

    staff: int = 1000
    days: int = 180
    cases: int = 4
    first: int = 90
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """One day that was written."""

    day: dt.date
    events: int
    injected: int


def make_cases(plan: Plan) -> tuple[Organisation, list[Case]]:
    """Return the organisation and the misuse of a plan; UebaError when there is no room for it."""
    if plan.days < LEAST_DAYS:
        raise UebaError(f"days: {plan.days}; needs at least {LEAST_DAYS}, for month-ends and a past")
    if plan.first >= plan.days and plan.cases:
        raise UebaError(f"first: misuse from day {plan.first} on needs more than {plan.days} days")
    if plan.staff < 60 * max(1, plan.cases) or plan.staff < 60:
        raise UebaError(f"staff: {plan.staff}; needs at least 60 for each case of a scenario ({plan.cases})")
    org = make_organisation(plan.staff, plan.days, np.random.default_rng([plan.seed, 1]))
    return org, plan_cases(org, plan.cases, plan.first, np.random.default_rng([plan.seed, 2]))


def make_day(org: Organisation, cases: list[Case], day: int, seed: int) -> Batch:
    """Return all events of one day; ordinary ones are the same with and without misuse."""
    batch = make_ordinary(org, day, np.random.default_rng([seed, 3, day]))
    working = is_working(org, day)
    for case in cases:
        here = case.scenario in ALWAYS or bool(working[case.members[0]])
        if case.start <= day < case.start + case.days and here:
            scene = Scene(org, day, batch, case, np.random.default_rng([seed, 4, case.number, day]))
            batch = join([batch, INJECT[case.scenario](scene)])
    return batch


def write_organisation(home: Home, plan: Plan) -> Iterator[Made]:
    """Write everything, a day at a time; labels go to `labels.json`, beside the store and not into it."""
    if home.days():
        raise UebaError(f"{home.root}: has events already; needs an empty folder")
    org, cases = make_cases(plan)
    write_registers(home, org)
    acts: dict[int, list[tuple[str, str]]] = {case.number: [] for case in cases}
    for day in range(plan.days):
        batch = make_day(org, cases, day, plan.seed)
        table = to_table(org, batch, day, plan.seed)
        write_table(table, home.day_folder(date_of(day)) / f"generated-{plan.seed}.parquet")
        injected = np.flatnonzero(batch.label >= 0)
        ids = table["event_id"].take(pa.array(injected)).to_pylist()
        for number, event_id in zip(batch.label[injected], ids, strict=True):
            acts[int(number)].append((date_of(day).isoformat(), event_id))
        yield Made(date_of(day), len(batch), len(injected))
    write_labels(home.root / "labels.json", plan, org, cases, acts)


def write_labels(
    file: Path, plan: Plan, org: Organisation, cases: list[Case], acts: dict[int, list[tuple[str, str]]]
) -> None:
    """Write which staff misused what on which days. A case without any act is not listed."""
    shown = [
        {
            "case": case.number,
            "scenario": case.scenario,
            "intensity": case.intensity,
            "staff": org.names(np.array(case.members)),
            "days": sorted({day for day, _ in acts[case.number]}),
            "events": [event_id for _, event_id in acts[case.number]],
        }
        for case in cases
        if acts[case.number]
    ]
    document = {"plan": asdict(plan), "cases": shown}
    file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _take(names: list[str], codes: Ints) -> pa.Array:
    """Return the names of codes; -1 is null."""
    indices = pa.array(codes, mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), pa.array(names)).cast(pa.string())


def _numbered(prefix: str, numbers: Ints) -> pa.Array:
    unique, codes = np.unique(numbers, return_inverse=True)
    taken = _take([f"{prefix}{one:06d}" for one in unique], np.where(numbers < 0, -1, codes))
    return taken


def to_table(org: Organisation, batch: Batch, day: int, seed: int) -> pa.Table:
    """Return a day's events in the store's form."""
    midnight = int(dt.datetime.combine(date_of(day), dt.time(), dt.UTC).timestamp()) - UTC_OFFSET_S
    micros = (midnight + batch.at_s) * 1_000_000
    size = len(batch)
    columns = {
        "event_id": pa.array([f"g{seed}-{day:04d}-{number:07d}" for number in range(size)]),
        "at": pa.array(micros).cast(pa.timestamp("us", tz="UTC")),
        "staff": _take(org.names(np.arange(org.staff)), batch.staff),
        "action": _take(list(ACTIONS), batch.action),
        "role": _take([one.name for one in ROLES], org.role[batch.staff, day]),
        "branch": _take([f"b{one:03d}" for one in range(org.branches)], org.branch[batch.staff]),
        "terminal": _numbered("t", batch.terminal),
        "site": _take(["idc", "cloud"], org.branch[batch.staff] % 2),
        "system": _take(["portal"], np.zeros(size, dtype=np.int64)),
        "customer": _numbered("c", batch.customer),
        "n_fields": pa.array(batch.fields_shown.astype(np.int32)),
        "purpose": _take(list(PURPOSES), batch.purpose),
        "assigned": pa.array(batch.assigned == 1, mask=batch.assigned < 0),
        "rows": pa.array(batch.rows),
        "dwell_ms": pa.array(batch.dwell_ms, mask=batch.dwell_ms < 0),
        "result": _take(["ok", "denied"], batch.failed),
        "case_id": _take([f"K{day:04d}"], np.where(batch.case > 0, 0, -1)),
    }
    return pa.table(columns, schema=EVENTS)


def write_registers(home: Home, org: Organisation) -> None:
    """Write the registers of staff, customers and relations."""
    everyone = np.arange(org.staff)
    changes = [np.flatnonzero(np.diff(org.role[one])) for one in range(org.staff)]

    def dates(days: Ints) -> list[dt.date | None]:
        return [date_of(int(day)) if 0 <= day < NEVER else None for day in days]

    staff = {
        "staff": org.names(everyone),
        "role": [ROLES[one].name for one in org.role[:, 0]],
        "branch": [f"b{one:03d}" for one in org.branch],
        "joined_on": dates(org.joined),
        "role_since": [date_of(int(one[0]) + 1) if len(one) else None for one in changes],
        "notice_on": dates(org.notice),
        "left_on": dates(org.left),
        "dormant_since": [date_of(-200) if one else None for one in org.dormant],
        "criticality": [
            "high" if ROLES[one].name in ("admin", "risk") else "medium" for one in org.role[:, 0]
        ],
    }
    customers = np.arange(org.customers)
    customer = {
        "customer": _numbered("c", customers),
        "branch": _take([f"b{one:03d}" for one in range(org.branches)], customers // org.branch_customers),
        "segment": _take(list(SEGMENTS), org.segment),
        "state": _take(list(STATES), org.state),
        "listed": pa.array(org.listed),
    }
    relation = {
        "staff": _take(org.names(everyone), np.repeat(everyone, 3)),
        "customer": _numbered("c", org.related.reshape(-1)),
        "relation": ["family", "colleague", "neighbour"] * org.staff,
    }
    for name, columns in (("staff", staff), ("customer", customer), ("relation", relation)):
        write_table(pa.table(columns, schema=REGISTERS[name]), home.register(name))
