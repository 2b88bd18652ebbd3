"""The credit bureau's file: accounts, agreements and deletions of every cell, page by page."""

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compliance.reporting import bureau, bureau_others
from compliance.reporting.batch import Finding
from compliance.reporting.catalogue import Tables
from compliance.reporting.house import House, open_private
from compliance.reporting.snapshot import Evening, Snapshot, begin_digest

PERSONS_AT_ONCE = 500
"""Rows whose borrowers are asked for together. Source: our choice, one round trip each."""
CHECKS = ("sum-503-is-gl", "roll-forward", "evening-there", "class-floor")
"""Cross-checks of the books that the records are made from."""
Row = bureau.Row
_Points = Callable[[Row, bureau.Period], tuple[str, ...]]


@dataclass(slots=True)
class _Writing:
    """A file under way."""

    tables: Tables
    period: bureau.Period
    org: str
    write: Callable[[bytes], None]
    counts: dict[str, int]

    def add(self, record: str, segments: bureau.Segments) -> None:
        self.write(_render(record, segments))
        self.counts[record] += 1


async def make_records(
    house: House, opened: Sequence[Snapshot], evening: Evening
) -> tuple[dict[str, Any], list[Finding]]:
    """Write the file; returns what it holds and what its records break."""
    file, digest, findings = f"pboc-{evening.day:%Y%m%d}.xml", begin_digest(), list[Finding]()
    with open_private(house.out / file) as stream:

        def write(text: bytes) -> None:
            stream.write(text)
            digest.update(text)

        period = bureau.Period(evening.since, evening.day)
        counts = dict.fromkeys(house.tables.records, 0)
        writing = _Writing(house.tables, period, evening.institution.bureau_org, write, counts)
        write(b'<?xml version="1.0" encoding="UTF-8"?>\n<Document>\n')
        for number, snapshot in enumerate(opened, 1):
            findings += await _write_cell(house, snapshot, writing)
            house.tell(f"cell {snapshot.cell}", number, len(opened))
        write(b"</Document>\n")
    for snapshot in opened:
        for name in CHECKS:
            findings += await snapshot.check(name)
    tables: dict[str, Any] = {"210": {"file": file, "rows": sum(counts.values()), "sm3": digest.hexdigest()}}
    tables["210"]["records"] = counts
    label = asdict(house.tables.records_label)
    return {"tables": tables, "label": label, "definitions_sm3": house.tables.sm3}, findings


async def _write_cell(house: House, snapshot: Snapshot, writing: _Writing) -> list[Finding]:
    """Write a cell's agreements, accounts and deletions, in this order: an account names its agreement."""
    findings: list[Finding] = []
    for stream, points, write_one in (
        (snapshot.stream_agreements(), bureau_others.agreement_points, _write_agreement),
        (snapshot.stream_accounts(), bureau.time_points, _write_account),
    ):
        async for page in _pages(stream, points, writing.period):
            persons = await house.persons(snapshot.cell, sorted({row["customer_id"] for row in page}))
            for row in page:
                findings += write_one(writing, row, persons.get(row["customer_id"], {}))
    async for row in snapshot.stream_deletions():
        findings += bureau_others.check_deletion(row, writing.period)
        record = writing.tables.records["214"]
        writing.add("214", bureau.fill(record, ("B",), {**row, "record": "214"}))
    return [Finding(**{**asdict(one), "cell": snapshot.cell}) for one in findings]


async def _pages(
    rows: AsyncIterator[dict[str, Any]], points: _Points, period: bureau.Period
) -> AsyncIterator[list[dict[str, Any]]]:  # fmt: skip
    """Yield those rows that have something to report now, some at a time."""
    page: list[dict[str, Any]] = []
    async for row in rows:
        if points(row, period):
            page.append(row)
        if len(page) == PERSONS_AT_ONCE:
            yield page
            page = []
    if page:
        yield page


def _write_agreement(writing: _Writing, agreement: Row, person: Row) -> list[Finding]:
    record, findings = writing.tables.records["220"], list[Finding]()
    for point in bureau_others.agreement_points(agreement, writing.period):
        values = bureau_others.make_agreement(agreement, person, point, writing.period, writing.org)
        segments = bureau.fill(record, ("B", "C"), values)
        findings += bureau_others.check_agreement(record, segments, values, writing.period)
        writing.add("220", segments)
    return findings


def _write_account(writing: _Writing, account: Row, person: Row) -> list[Finding]:
    record, findings = writing.tables.records["210"], list[Finding]()
    points = bureau.time_points(account, writing.period)
    for point in points:
        values = bureau.make_values(account, person, point, writing.period, writing.org)
        segments = bureau.fill(record, bureau.segments_of(account["account_type"], point), values)
        if point == points[-1]:  # told once, with what the account is at the end
            segments |= bureau.fill_trades(record, account["trades"])
        findings += bureau.check_record(record, segments, values, writing.period)
        writing.add("210", segments)
        if point == bureau.NEW and person:
            first = bureau.fill(writing.tables.records["110"], ("B",), {**values, "record": "110"})
            writing.add("110", first)
    return findings


def _render(record: str, segments: bureau.Segments) -> bytes:
    """Return one record as XML; the library escapes what names hold."""
    root = ET.Element("Rec", {"type": record})
    for name, fields in segments.items():
        segment = ET.SubElement(root, name[0])
        for tag, text in fields.items():
            ET.SubElement(segment, tag).text = text
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=False)
    return made + b"\n"
