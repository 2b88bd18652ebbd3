"""Credit-bureau records of one account: time-points, segments, and the rules a record has to keep. Pure.

Rules and codes: research on lending, 3, PBOC; not verified against the official text.
"""

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from compliance.reporting.batch import Finding, Words
from compliance.reporting.returns import yuan
from core_app.loans.classification import bureau_status

NEW, CLOSED, FIRST_STOCK, MONTH_END, CLASS_CHANGE = "10", "20", "31", "32", "40"
WITH_LINE = ("R1", "R4")
MONTHLY, IRREGULAR, AGGREGATED = "03", "99", "90"
_CLOSED_STATE, _WRITTEN_OFF = "3", "42"
Row = Mapping[str, Any]
Segments = dict[str, dict[str, str]]


Field = tuple[str, str, str, list[str] | None]
"""Tag, Chinese name, source, codes that it may take."""


@dataclass(frozen=True, slots=True)
class Record:
    """A bureau record: its segments of fields."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    name: Words
    segments: dict[str, list[Field]]


@dataclass(frozen=True, slots=True)
class Period:
    """What a filing reports: changes after `since` (None: the first filing) up to the evening of `day`."""

    since: dt.date | None
    day: dt.date

    @property
    def month_end(self) -> bool:
        """Say whether the day is the last of its month."""
        return self.day.day == calendar.monthrange(self.day.year, self.day.month)[1]


def time_points(account: Row, period: Period) -> tuple[str, ...]:
    """Return why an account is reported now, in order; empty when it is not."""
    fresh = period.since is None or account["opened"] > period.since
    points = []
    if period.since is None and account["opened"].replace(day=1) < period.day.replace(day=1):
        points.append(FIRST_STOCK)
    elif fresh:
        points.append(NEW)
    if account["ended"] is not None:
        return (*points, CLOSED)
    if period.month_end and FIRST_STOCK not in points:
        points.append(MONTH_END)
    elif not fresh and account["class5_before"] not in (None, account["class5"]):
        points.append(CLASS_CHANGE)
    return tuple(points)


def make_values(account: Row, person: Row, time_point: str, period: Period, org: str) -> dict[str, Any]:
    """Return every source that a field may name."""
    closed = account["ended"] is not None
    overdue = account["days_past_due"] > 0 and not closed
    state = _CLOSED_STATE if closed else "2" if overdue else "1"
    status = "C" if closed else bureau_status(account["days_past_due"])
    if closed and account["written_off"]:
        state, status = _WRITTEN_OFF, "G"
    quiet = {"balance_fen": 0, "overdue_fen": 0, "missed": 0, "left_periods": 0} if closed else {}
    return {
        **account, **person, **quiet, "record": "210", "time_point": time_point, "report_date": period.day,
        "month": f"{period.day:%Y-%m}", "org": org, "id_type": "10", "currency": "CNY", "line_kind": "1",
        "guarantee": "4", "state": state, "status": status,
    }  # fmt: skip


def segments_of(account_type: str, time_point: str) -> tuple[str, ...]:
    """Return the segments that a record of this type and time-point has."""
    base = ("B", "C") if time_point in (NEW, FIRST_STOCK) else ("B",)
    line = ("F",) if account_type in WITH_LINE and time_point in (NEW, FIRST_STOCK) else ()
    return (*base, *line, "H")


def fill(record: Record, names: Sequence[str], values: Row) -> Segments:
    """Return the segments' fields as texts."""
    return {
        name: {tag: _text(source, values.get(source)) for tag, _, source, _ in record.segments[name]}
        for name in names
    }


def _text(source: str, value: Any) -> str:
    if value is None:
        return ""
    if source.endswith("_fen"):
        return yuan(int(value))
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def check_record(record: Record, segments: Segments, values: Row, period: Period) -> list[Finding]:
    """Return the rules that a record breaks: code lists, then what holds between fields."""
    found = []
    for name, fields in segments.items():
        for tag, _, _, codes in record.segments[name]:
            if codes is not None and fields[tag] not in codes:
                found.append((f"{name}.{tag} is of its code list", fields[tag], " ".join(codes)))
    found += _between(segments, values, period)
    code = str(values.get("code", ""))
    return [Finding("210", code, rule, was, needed) for rule, was, needed in found]


def _between(segments: Segments, values: Row, period: Period) -> list[tuple[str, str, str]]:
    """Return rule, found, needed of every relation between fields that does not hold."""
    point, kind, h = values["time_point"], values["account_type"], segments.get("H", {})
    closed = point == CLOSED
    zero = "0.00"
    rules = [
        ("a new account has its basic segment", point != NEW or "C" in segments, "B only", "B and C"),
        ("a term loan reports its month", kind != "D1" or "H" in segments, "no H", "H"),
        ("an account under a line names it", point != NEW or kind not in WITH_LINE or "F" in segments,
         "no F", "F"),
        ("the month is that of the report", h.get("Month") == f"{period.day:%Y-%m}", h.get("Month", ""),
         f"{period.day:%Y-%m}"),
        ("a closed account owes nothing", not closed or (h.get("AcctBal"), h.get("TotOverdAmt"),
         h.get("OverdPrd")) == (zero, zero, "0"), f"{h.get('AcctBal')} {h.get('TotOverdAmt')}", zero),
        ("a closed account has its day and state", not closed or (bool(h.get("CloseDate"))
         and h.get("RpyStatus") in ("C", "G")), f"{h.get('CloseDate')} {h.get('RpyStatus')}",
         "a day, C or G"),
        ("it closes on its last repayment or later", not closed or not values["last_paid"]
         or values["written_off"] or values["ended"] >= values["last_paid"], str(values["ended"]),
         f">= {values['last_paid']}"),
        ("it opens before it is due", values["due"] is None or values["opened"] <= values["due"],
         str(values["opened"]), f"<= {values['due']}"),
        ("aggregated bills are monthly", values["repay_mode"] != AGGREGATED
         or values["frequency"] == MONTHLY, values["frequency"], MONTHLY),
        ("bullet and anytime are irregular", not values["repay_mode"].startswith("2")
         or values["frequency"] == IRREGULAR, values["frequency"], IRREGULAR),
        ("a revolving account is not repaid by term modes", kind != "R1"
         or not "11" <= values["repay_mode"] <= "29", values["repay_mode"], "not 11 to 29"),
        ("only an overdue account has overdue periods", closed or (values["days_past_due"] > 0)
         == (int(values["missed"] or 0) > 0), str(values["missed"]), f"{values['days_past_due']} days"),
        ("the borrower is named", bool(values.get("name")) and bool(values.get("id_number")), "nobody",
         "name and ID number"),
    ]  # fmt: skip
    return [(rule, was, needed) for rule, holds, was, needed in rules if not holds]
