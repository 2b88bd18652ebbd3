"""Credit-bureau records of accounts: time-points, segments, and the rules a record has to keep. Pure.

Rules of agreements, deletions and special events: `bureau_others.py`.

Rules and codes: research on lending, 3, PBOC; not verified against the official text.
"""

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict

from compliance.reporting.batch import Finding, Words
from compliance.reporting.returns import yuan
from core_app.loans.classification import bureau_status

OTHERS_LIABLE = ("3", "5")
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
    """A bureau record: its segments of fields. `why_empty`, `segments_empty`: what no row of ours becomes."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    name: Words
    segments: dict[str, list[Field]]
    why_empty: Words | None = None
    segments_empty: dict[str, Words] = field(default_factory=dict)


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
        "guarantee": "4", "state": state, "status": status, "transferred": "0",
        "fund_source": "20" if account["joint"] else "10",
    }  # fmt: skip


def segments_of(account_type: str, time_point: str) -> tuple[str, ...]:
    """Return the segments that a record of this type and time-point has."""
    base = ("B", "C") if time_point in (NEW, FIRST_STOCK) else ("B",)
    line = ("F",) if account_type in WITH_LINE and time_point in (NEW, FIRST_STOCK) else ()
    return (*base, *line, "H")


def fill(record: Record, names: Sequence[str], values: Row) -> Segments:
    """Return the segments' fields as texts."""
    return {
        name: {tag: _text(source, values.get(source)) for tag, _, source, _ in record.segments[name[0]]}
        for name in names
    }


def fill_trades(record: Record, trades: Sequence[Row]) -> Segments:
    """Return a segment K for each special trade: K1, K2 and so on; a trade is `on`, `fen`, `kind`."""
    made: Segments = {}
    for number, trade in enumerate(trades, 1):
        values = {
            "trade_kind": trade["kind"], "trade_on": trade["on"], "trade_fen": trade["fen"],
            "trade_months": "0", "trade_note": "",
        }  # fmt: skip
        made |= fill(record, (f"K{number}",), values)
    return made


def _text(source: str, value: Any) -> str:
    if value is None:
        return ""
    if source.endswith("_fen"):
        return yuan(int(value))
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def check_record(record: Record, segments: Segments, values: Row, period: Period) -> list[Finding]:
    """Return the rules that a record 210 breaks: code lists, then what holds between fields."""
    broken = check_codes(record, segments)
    broken += [one[:-1] for one in _of_state(segments, values, period) if not one[-1]]
    broken += [one[:-1] for one in _of_terms(segments, values, period) if not one[-1]]
    code = str(values.get("code", ""))
    return [Finding("210", code, rule, was, needed) for rule, was, needed in broken]


def check_codes(record: Record, segments: Segments) -> list[tuple[str, str, str]]:
    """Return rule, found, needed of every field that is not of its code list."""
    return [
        (f"{name[0]}.{tag} is of its code list", fields[tag], " ".join(codes))
        for name, fields in segments.items()
        for tag, _, _, codes in record.segments[name[0]]
        if codes is not None and fields[tag] not in codes
    ]


Rule = tuple[str, str, str, bool]
"""What has to hold, what was found, what is needed, whether it holds."""


def _of_state(segments: Segments, values: Row, period: Period) -> list[Rule]:
    """Return the rules of what the account is now: its month, its end, what is overdue."""
    point, kind, h = values["time_point"], values["account_type"], segments.get("H", {})
    closed, month = point == CLOSED, f"{period.day:%Y-%m}"
    owed = [h.get(tag, "nothing") for tag in ("AcctBal", "TotOverdAmt", "OverdPrd")]
    trades = [fields for name, fields in segments.items() if name.startswith("K")]
    since = (period.since or dt.date.min).isoformat()
    return [
        ("a new account has its basic segment", "B only", "B and C", point != NEW or "C" in segments),
        ("a term loan reports its month", "no H", "H", kind != "D1" or "H" in segments),
        ("an account under a line names it", "no F", "F",
         point != NEW or kind not in WITH_LINE or "F" in segments),
        ("the month is that of the report", h.get("Month", ""), month, h.get("Month") == month),
        ("a closed account owes nothing", " ".join(owed), "0.00 0.00 0",
         not closed or owed == ["0.00", "0.00", "0"]),
        ("a closed account has its day and state", f"{h.get('CloseDate')} {h.get('RpyStatus')}",
         "a day, C or G", not closed or (bool(h.get("CloseDate")) and h.get("RpyStatus") in ("C", "G"))),
        ("it closes on its last repayment or later", str(values["ended"]), f">= {values['last_paid']}",
         not closed or not values["last_paid"] or values["written_off"]
         or values["ended"] >= values["last_paid"]),
        ("only an overdue account has overdue periods", str(values["missed"]),
         f"{values['days_past_due']} days",
         closed or (values["days_past_due"] > 0) == (int(values["missed"] or 0) > 0)),
        ("special trades are of the period", " ".join(one["TranDate"] for one in trades),
         f"after {since}, to {period.day}",
         all(since < one["TranDate"] <= period.day.isoformat() for one in trades)),
    ]  # fmt: skip


def _of_terms(segments: Segments, values: Row, _: Period) -> list[Rule]:
    """Return the rules of what was agreed: days, modes, who is liable, who borrowed."""
    kind, mode, frequency = values["account_type"], values["repay_mode"], values["frequency"]
    return [
        ("it opens before it is due", str(values["opened"]), f"<= {values['due']}",
         values["due"] is None or values["opened"] <= values["due"]),
        ("aggregated bills are monthly", frequency, MONTHLY, mode != AGGREGATED or frequency == MONTHLY),
        ("bullet and anytime are irregular", frequency, IRREGULAR,
         not mode.startswith("2") or frequency == IRREGULAR),
        ("a revolving account is not repaid by term modes", mode, "not 11 to 29",
         kind != "R1" or not "11" <= mode <= "29"),
        ("a term account is not repaid by revolving modes", mode, "not 31 to 39",
         kind == "R1" or not "31" <= mode <= "39"),
        ("who guarantees is named", "no D", "D",
         values["guarantee"] not in OTHERS_LIABLE or "D" in segments),
        ("the type of an account never changes", f"{values['types']} types", "1", values["types"] == 1),
        ("the borrower is named", "nobody", "name and ID number",
         bool(values.get("name")) and bool(values.get("id_number"))),
    ]  # fmt: skip
