"""Make a filing: the files in a directory, the checks, the manifest. Nothing leaves the house here."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compliance.reporting import bureau
from compliance.reporting.batch import Finding, Kind, Made
from compliance.reporting.catalogue import Tables
from compliance.reporting.returns import add_up, check_returns, yuan
from compliance.reporting.snapshot import Connect, Evening, Snapshot, begin_digest, open_snapshot

PERSONS_AT_ONCE = 500
"""Accounts whose borrowers are asked for together. Source: our choice, one round trip each."""
FINDINGS_KEPT = 1000
"""Findings that a manifest keeps. Source: our choice; the first one refuses the batch already."""
Tell = Callable[[str, int, int], None]
Persons = Callable[[str, Sequence[str]], Awaitable[Mapping[str, Mapping[str, str]]]]
"""Gives name and id_number of a cell's customers, opened for the bureau's records only."""


@dataclass(frozen=True, slots=True)
class House:
    """What a run reads from and writes to."""

    cells: tuple[str, ...]
    connect: Connect
    persons: Persons
    tables: Tables
    out: Path
    tell: Tell = lambda *_: None


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
        make = {Kind.EAST: _make_east, Kind.RETURNS: _make_returns, Kind.PBOC: _make_pboc}[kind]
        content, findings = await make(house, opened, evening)
        seen = {one.cell: {"lsn": one.lsn, "snapshot": one.snapshot} for one in opened}
    # EAST and 1104 are filed only when they agree, whichever of them is run.
    made = Made(
        kind, evening.day, evening.since, {**content, "institution": asdict(evening.institution)}, seen,
        findings[:FINDINGS_KEPT],
    )  # fmt: skip
    _write_private(house.out / f"{kind}-manifest.json", json.dumps(
        made.manifest() | {"findings": [asdict(one) for one in made.findings]}, ensure_ascii=False, indent=1
    ))  # fmt: skip
    return made


async def _make_east(
    house: House, opened: Sequence[Snapshot], evening: Evening
) -> tuple[dict[str, Any], list[Finding]]:
    tables: dict[str, Any] = {}
    steps = len(house.tables.east) + len(house.tables.checks) + 1
    for number, (name, table) in enumerate(house.tables.east.items(), 1):
        file = f"{evening.institution.licence}-{name}-{evening.day:%Y%m%d}.txt"
        digest, rows = begin_digest(), 0
        with _open_private(house.out / file) as stream:
            for snapshot in opened[:1] if table.whole else opened:
                rows += await snapshot.copy_table(name, stream, digest)
        tables[name] = {"file": file, "rows": rows, "sm3": digest.hexdigest(), "mode": table.mode}
        house.tell(f"table {name}", number, steps)
    findings: list[Finding] = []
    for number, name in enumerate(house.tables.checks, len(tables) + 1):
        for snapshot in opened:
            findings += await snapshot.check(name)
        house.tell(f"check {name}", number, steps)
    findings += (await _read_returns(opened))[1]
    house.tell("cross-checks", steps, steps)
    label = asdict(house.tables.east_label)
    return {"tables": tables, "label": label, "definitions_sm3": house.tables.sm3}, findings


async def _read_returns(opened: Sequence[Snapshot]) -> tuple[dict[str, dict[str, int]], list[Finding]]:
    """Return the company's 1104 cells, and what does not agree cell by cell or over all."""
    of_cells = {one.cell: await one.read_returns() for one in opened}
    sums = {one.cell: await one.sum_503_fen() for one in opened}
    values = add_up(of_cells)
    return values, check_returns(values, sum(sums.values()))


async def _make_returns(
    house: House, opened: Sequence[Snapshot], evening: Evening
) -> tuple[dict[str, Any], list[Finding]]:
    values, findings = await _read_returns(opened)
    for snapshot in opened:
        for name in ("balanced-gl", "sum-503-is-gl", "class-floor", "evening-there"):
            findings += await snapshot.check(name)
    files = {}
    for number, (name, made) in enumerate(house.tables.returns.items(), 1):
        lines = ["cell\t项目\titem\tyuan"]
        lines += [f"{name}.{cell}\t{zh}\t{en}\t{yuan(values[name][cell])}" for cell, zh, en, _ in made.cells]
        text = "\n".join(lines) + "\n"
        file = f"{name}-{evening.day:%Y%m%d}.tsv"
        _write_private(house.out / file, text)
        digest = begin_digest()
        digest.update(text.encode())
        files[name] = {"file": file, "rows": len(made.cells), "sm3": digest.hexdigest()}
        house.tell(name, number, len(house.tables.returns))
    label = asdict(house.tables.returns_label)
    content = {"tables": files, "values_fen": values, "label": label, "definitions_sm3": house.tables.sm3}
    return content, findings


async def _make_pboc(
    house: House, opened: Sequence[Snapshot], evening: Evening
) -> tuple[dict[str, Any], list[Finding]]:
    period = bureau.Period(evening.since, evening.day)
    file, digest, findings = f"pboc-{evening.day:%Y%m%d}.xml", begin_digest(), list[Finding]()
    counts = {"110": 0, "210": 0}
    with _open_private(house.out / file) as stream:

        def write(text: bytes) -> None:
            stream.write(text)
            digest.update(text)

        write(b'<?xml version="1.0" encoding="UTF-8"?>\n<Document>\n')
        for number, snapshot in enumerate(opened, 1):
            page: list[dict[str, Any]] = []
            async for account in snapshot.stream_accounts():
                if bureau.time_points(account, period):
                    page.append(account)
                if len(page) == PERSONS_AT_ONCE:
                    findings += await _write_page(
                        house, snapshot.cell, page, (evening, period, write, counts)
                    )
                    page = []
            findings += await _write_page(house, snapshot.cell, page, (evening, period, write, counts))
            house.tell(f"cell {snapshot.cell}", number, len(opened))
        write(b"</Document>\n")
    for snapshot in opened:
        for name in ("sum-503-is-gl", "roll-forward", "evening-there", "class-floor"):
            findings += await snapshot.check(name)
    tables = {
        "210": {"file": file, "rows": counts["210"], "sm3": digest.hexdigest(), "persons": counts["110"]}
    }
    label = asdict(house.tables.records_label)
    return {"tables": tables, "label": label, "definitions_sm3": house.tables.sm3}, findings


async def _write_page(
    house: House, cell: str, page: Sequence[dict[str, Any]], how: tuple[Any, ...]
) -> list[Finding]:  # fmt: skip
    """Write the records of some accounts; returns what they break. `how`: evening, period, write, counts."""
    evening, period, write, counts = how
    findings: list[Finding] = []
    persons = await house.persons(cell, sorted({row["customer_id"] for row in page})) if page else {}
    for account in page:
        person = persons.get(account["customer_id"], {})
        for point in bureau.time_points(account, period):
            values = bureau.make_values(account, person, point, period, evening.institution.bureau_org)
            record = house.tables.records["210"]
            names = bureau.segments_of(account["account_type"], point)
            segments = bureau.fill(record, names, values)
            findings += bureau.check_record(record, segments, values, period)
            write(_render("210", segments))
            counts["210"] += 1
        if bureau.NEW in bureau.time_points(account, period) and person:
            values = {**values, "record": "110"}
            write(_render("110", bureau.fill(house.tables.records["110"], ("B",), values)))
            counts["110"] += 1
    return [Finding(**{**asdict(one), "cell": cell}) for one in findings]


def _render(record: str, segments: bureau.Segments) -> bytes:
    """Return one record as XML; the library escapes what names hold."""
    root = ET.Element("Rec", {"type": record})
    for name, fields in segments.items():
        segment = ET.SubElement(root, name)
        for tag, text in fields.items():
            ET.SubElement(segment, tag).text = text
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=False)
    return made + b"\n"


def _open_private(path: Path) -> Any:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    return path.open("wb")


def _write_private(path: Path, text: str) -> None:
    with _open_private(path) as stream:
        stream.write(text.encode())
