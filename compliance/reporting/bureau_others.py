"""Credit-bureau records besides accounts: agreements, deletions, special events, and their rules. Pure.

Rules: research on lending, 3, PBOC; not verified against the official text. Other records are described in
`tables/pboc.yaml` with the reason for which none is ever made.
"""

from collections.abc import Mapping
from typing import Any

from compliance.reporting.batch import Finding
from compliance.reporting.bureau import CLOSED, NEW, Period, Record, Row, Segments, check_codes

REVOLVING = "20"
"""Kind of a line that may be drawn again; not verified, as all codes."""


def agreement_points(agreement: Row, period: Period) -> tuple[str, ...]:
    """Return why a credit agreement is reported now: it is new, it has ended, or both."""
    points = [NEW] if period.since is None or agreement["opened"] > period.since else []
    if agreement["ended"] is not None and agreement["ended"] <= period.day:
        points.append(CLOSED)
    return tuple(points)


def make_agreement(
    agreement: Row, person: Row, time_point: str, period: Period, org: str
) -> dict[str, Any]:  # fmt: skip
    """Return every source that a field of record 220 may name."""
    return {
        **agreement, **person, "record": "220", "time_point": time_point, "report_date": period.day,
        "org": org, "id_type": "10", "currency": "CNY", "line_kind": REVOLVING, "loops": "1",
        "state": "2" if time_point == CLOSED else "1",
    }  # fmt: skip


def check_agreement(record: Record, segments: Segments, values: Row, period: Period) -> list[Finding]:
    """Return the rules that a record 220 breaks."""
    ended, since = values["ended"], period.since
    rules = [
        ("nothing is filed of an agreement that has ended", str(ended), f"after {since}",
         ended is None or since is None or ended > since),
        ("an agreement begins before it ends", str(values["opened"]), f"<= {values['due']}",
         values["due"] is None or values["opened"] <= values["due"]),
        ("an agreement is of some amount", str(values["amount_fen"]), "> 0", values["amount_fen"] > 0),
        ("the borrower is named", "nobody", "name and ID number",
         bool(values.get("name")) and bool(values.get("id_number"))),
    ]  # fmt: skip
    broken = check_codes(record, segments)
    broken += [(rule, was, needed) for rule, was, needed, holds in rules if not holds]
    return [Finding("220", str(values["agreement"]), rule, was, needed) for rule, was, needed in broken]


def check_deletion(deletion: Row, period: Period) -> list[Finding]:
    """Return what is wrong with taking an account back: it has to have been filed."""
    if period.since is not None and deletion["opened"] <= period.since:
        return []
    rule, needed = "what is deleted was filed", f"opened by {period.since}"
    return [Finding("214", str(deletion["code"]), rule, str(deletion["opened"]), needed)]


def check_event(event: Mapping[str, str], filed: frozenset[tuple[str, str]]) -> list[Finding]:
    """Return the rules that a special event (215) breaks; `filed`: code and date of each 210."""
    code, day, month = event["AcctCode"], event["RptDate"], event["Month"]
    rules = [
        ("an event is not told beside its account's own record", f"a 210 of {code} on {day}", "none",
         (code, day) not in filed),
        ("an event's month is that of the report", month, day[:7], month == day[:7]),
    ]  # fmt: skip
    return [Finding("215", code, rule, was, needed) for rule, was, needed, holds in rules if not holds]
