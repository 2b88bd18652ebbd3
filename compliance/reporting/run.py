"""Make a filing: the files in a directory, the checks, the manifest. Nothing leaves the house here."""

import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

from compliance.reporting.batch import Finding, Kind, Made
from compliance.reporting.bureau_file import make_records
from compliance.reporting.catalogue import Tables
from compliance.reporting.house import House, open_private, write_private
from compliance.reporting.lanes import Lane, open_lanes, spread
from compliance.reporting.returns import add_up, check_returns, yuan
from compliance.reporting.snapshot import Evening, Snapshot, begin_digest, open_snapshot
from compliance.reporting.statements import (
    find_statement_faults,
    list_missing,
    render_stated,
    render_statements,
)  # fmt: skip

FINDINGS_KEPT = 1000
"""Findings that a manifest keeps. Source: our choice; the first one refuses the batch already."""


async def make_filing(house: House, kind: Kind, evening: Evening) -> Made:
    """Compute a filing of `kind` into `house.out`; DayNotClosed, psycopg.Error. Findings are in the value.

    The cells' snapshots are all open before anything is read, and each is of the same evening.
    """
    house.out.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_snapshot(house.connect, cell, house.tables, evening))
            for cell in house.cells
        ]
        make = {Kind.EAST: _make_east, Kind.RETURNS: _make_returns, Kind.PBOC: make_records}[kind]
        content, findings = await make(house, opened, evening)
        seen = {one.cell: {"lsn": one.lsn, "snapshot": one.snapshot} for one in opened}
    # EAST and 1104 are filed only when they agree, whichever of them is run.
    made = Made(
        kind, evening.day, evening.since, {**content, "institution": asdict(evening.institution)}, seen,
        findings[:FINDINGS_KEPT],
    )  # fmt: skip
    write_private(house.out / f"{kind}-manifest.json", json.dumps(
        made.manifest() | {"findings": [asdict(one) for one in made.findings]}, ensure_ascii=False, indent=1
    ))  # fmt: skip
    return made


async def _make_east(
    house: House, opened: Sequence[Snapshot], evening: Evening
) -> tuple[dict[str, Any], list[Finding]]:
    steps, done = 2 * len(house.tables.east) + len(house.tables.checks) + 1, itertools.count(1)

    def tell(about: str) -> None:
        house.tell(about, next(done), steps)

    works = [partial(_check_fields, house.tables, name, tell) for name in house.tables.east]
    works += [partial(_check, name, tell) for name in house.tables.checks]
    async with open_lanes(house.connect, opened) as lanes:
        tables = await write_tables(house, lanes, evening, tell)
        findings = [one for found in await spread(lanes, works) for one in found]
    findings += (await _read_returns(house.tables, opened))[1]
    tell("cross-checks")
    label = asdict(house.tables.east_label)
    return {"tables": tables, "label": label, "definitions_sm3": house.tables.sm3}, findings


async def write_tables(
    house: House, lanes: Sequence[Lane], evening: Evening, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Write every EAST table into `house.out`, several at once; returns file, rows, SM3 and mode of each."""
    east = house.tables.east
    # The table with most columns takes longest: begun last, it would be computed alone.
    names = sorted(east, key=lambda name: -len(east[name].columns))
    works = [partial(_write_table, house, evening, name, tell) for name in names]
    written = dict(zip(names, await spread(lanes, works), strict=True))
    return {name: written[name] for name in east}


async def _write_table(
    house: House, evening: Evening, name: str, tell: Callable[[str], None], lane: Lane
) -> dict[str, Any]:
    table = house.tables.east[name]
    file = f"{evening.institution.licence}-{name}-{evening.day:%Y%m%d}.txt"
    digest, rows = begin_digest(), 0
    with open_private(house.out / file) as stream:
        for snapshot in lane[:1] if table.whole else lane:
            rows += await snapshot.copy_table(name, stream, digest)
    tell(f"table {name}")
    return {"file": file, "rows": rows, "sm3": digest.hexdigest(), "mode": table.mode}


async def _check_fields(tables: Tables, name: str, tell: Callable[[str], None], lane: Lane) -> list[Finding]:
    own = lane[:1] if tables.east[name].whole else lane
    findings = [one for snapshot in own for one in await snapshot.check_fields(name)]
    tell(f"fields of {name}")
    return findings


async def _check(name: str, tell: Callable[[str], None], lane: Lane) -> list[Finding]:
    findings = [one for snapshot in lane for one in await snapshot.check(name)]
    tell(f"check {name}")
    return findings


async def _read_returns(
    tables: Tables, opened: Sequence[Snapshot]
) -> tuple[dict[str, dict[str, int]], list[Finding]]:  # fmt: skip
    """Return the company's 1104 cells, and what does not agree cell by cell or over all."""
    of_cells = {one.cell: await one.read_returns() for one in opened}
    sums = {one.cell: await one.sum_503_fen() for one in opened}
    ways = {name: {one.cell: one.way for one in made.cells} for name, made in tables.returns.items()}
    values = add_up(of_cells, ways)
    return values, check_returns(values, sum(sums.values()))


async def _make_returns(
    house: House, opened: Sequence[Snapshot], evening: Evening
) -> tuple[dict[str, Any], list[Finding]]:
    values, findings = await _read_returns(house.tables, opened)
    asked = house.tables.stated()
    for snapshot in opened:
        for name in ("balanced-gl", "sum-503-is-gl", "class-floor", "evening-there"):
            findings += await snapshot.check(name)
    findings += find_statement_faults(asked, evening.statements, evening.day)
    files = {}
    for number, (name, made) in enumerate(house.tables.returns.items(), 1):
        lines = ["cell\t项目\titem\tyuan\t来源 source"]
        lines += [
            f"{name}.{cell}\t{zh}\t{en}\t{yuan(values[name][cell])}\t" for cell, zh, en, *_ in made.cells
        ]
        lines += render_stated(name, asked, evening.statements)
        text = "\n".join(lines) + "\n"
        file = f"{name}-{evening.day:%Y%m%d}.tsv"
        write_private(house.out / file, text)
        digest = begin_digest()
        digest.update(text.encode())
        files[name] = {"file": file, "rows": len(lines) - 1, "sm3": digest.hexdigest()}
        house.tell(name, number, len(house.tables.returns))
    label = asdict(house.tables.returns_label)
    content = {
        "tables": files, "values_fen": values, "label": label, "definitions_sm3": house.tables.sm3,
        "stated": render_statements(evening.statements),
        "not_stated": list_missing(asked, evening.statements),
    }  # fmt: skip
    return content, findings
