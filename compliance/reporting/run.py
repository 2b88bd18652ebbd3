"""Make a filing: the files in a directory, the checks, the manifest. Nothing leaves the house here."""

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

from compliance.reporting.batch import Finding, Kind, Made
from compliance.reporting.bureau_file import make_records
from compliance.reporting.catalogue import Tables
from compliance.reporting.house import House, open_private, write_private
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
    tables: dict[str, Any] = {}
    steps, findings = 2 * len(house.tables.east) + len(house.tables.checks) + 1, list[Finding]()
    for number, (name, table) in enumerate(house.tables.east.items(), 1):
        file = f"{evening.institution.licence}-{name}-{evening.day:%Y%m%d}.txt"
        digest, rows = begin_digest(), 0
        with open_private(house.out / file) as stream:
            for snapshot in opened[:1] if table.whole else opened:
                rows += await snapshot.copy_table(name, stream, digest)
        tables[name] = {"file": file, "rows": rows, "sm3": digest.hexdigest(), "mode": table.mode}
        house.tell(f"table {name}", number, steps)
    for number, (name, table) in enumerate(house.tables.east.items(), len(tables) + 1):
        for snapshot in opened[:1] if table.whole else opened:
            findings += await snapshot.check_fields(name)
        house.tell(f"fields of {name}", number, steps)
    for number, name in enumerate(house.tables.checks, 2 * len(tables) + 1):
        for snapshot in opened:
            findings += await snapshot.check(name)
        house.tell(f"check {name}", number, steps)
    findings += (await _read_returns(house.tables, opened))[1]
    house.tell("cross-checks", steps, steps)
    label = asdict(house.tables.east_label)
    return {"tables": tables, "label": label, "definitions_sm3": house.tables.sm3}, findings


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
