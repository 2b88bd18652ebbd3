"""What a partner is told of one business day: lines, totals, digest, and whether they are right. Pure.

A line is one loan's day: drawn (a voided draw is negative), and what was collected for the partner of
principal, interest and penalty. The file is UTF-8 text, fields parted by `|`, amounts in fen:

    SETTLEMENT|1|bank_east|2026-01-15
    L1f3-...|2026-01-16|840000|0|0|0
    TOTAL|1|840000|0|0|0
    NET|-840000
    SM3|<of every byte before this line>
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from core_app.documents import compute_sm3
from core_app.errors import DocumentInvalid
from core_app.funding.shares import Paid, Share, split_change

_KIND, _FORMAT = "SETTLEMENT", "1"


class SettlementInvalid(DocumentInvalid):
    """A settlement file cannot be relied on; the message names the line, what was found, what is needed."""


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One loan's day for one partner, in fen; `due` is the day by which it is settled."""

    loan_id: str
    due: dt.date
    drawn_fen: int = 0
    principal_fen: int = 0
    interest_fen: int = 0
    penalty_fen: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over lines. `net_fen` is what we owe the partner for the day; negative: the partner owes us."""

    lines: int
    drawn_fen: int
    principal_fen: int
    interest_fen: int
    penalty_fen: int

    @property
    def net_fen(self) -> int:
        """Return what was collected for the partner less what was drawn on its share."""
        return self.principal_fen + self.interest_fen + self.penalty_fen - self.drawn_fen


@dataclass(frozen=True, slots=True)
class Settlement:
    """One partner's business day over all cells; lines in the order of loan ids."""

    funder: str
    day: dt.date
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class LoanDay:
    """What the business rows say of a loan on a day: its funders, its totals before and after the day,
    and when the day is settled.

    `drawn_fen` by funder: its principal when the loan was drawn on the day, less it when it was voided.
    """

    loan_id: str
    due: dt.date
    shares: tuple[Share, ...]
    before: Paid
    after: Paid
    drawn_fen: int


def sum_lines(lines: Iterable[Line]) -> Totals:
    """Return the totals."""
    columns = [astuple(line)[2:] for line in lines]
    return Totals(len(columns), *(sum(column[n] for column in columns) for n in range(4)))


def digest_lines(lines: Sequence[Line]) -> bytes:
    """Return the SM3 of lines as they stand in a file."""
    return compute_sm3("".join(_show(line) for line in sorted(lines)).encode())


def expect_line(loan: LoanDay, funder: str) -> Line:
    """Return the line that the business rows demand, worked out without the ledger."""
    place = [share.funder for share in loan.shares].index(funder)
    before, after = loan.before, loan.after
    return Line(
        loan.loan_id,
        loan.due,
        loan.drawn_fen,
        split_change(before.principal_fen, after.principal_fen, loan.shares)[place],
        split_change(before.interest_fen, after.interest_fen, loan.shares)[place],
        split_change(before.penalty_fen, after.penalty_fen, loan.shares)[place],
    )


def find_differences(ledger: Iterable[Line], business: Iterable[Line]) -> tuple[str, ...]:
    """Return each loan whose ledger lines are not what the business rows demand; lines of zeros are none."""
    booked = {line.loan_id: line for line in ledger if any(astuple(line)[2:])}
    demanded = {line.loan_id: line for line in business if any(astuple(line)[2:])}
    return tuple(
        f"{loan_id}: booked {_fen(booked.get(loan_id))}, by the loan's own rows {_fen(demanded.get(loan_id))}"
        for loan_id in sorted(booked.keys() | demanded.keys())
        if booked.get(loan_id) != demanded.get(loan_id)
    )


def write_settlement(settlement: Settlement) -> str:
    """Return the file's text; the same settlement always gives the same bytes."""
    totals = sum_lines(settlement.lines)
    head = f"{_KIND}|{_FORMAT}|{settlement.funder}|{settlement.day.isoformat()}\n"
    body = "".join(_show(line) for line in sorted(settlement.lines))
    foot = f"TOTAL|{'|'.join(map(str, astuple(totals)))}\nNET|{totals.net_fen}\n"
    text = head + body + foot
    return f"{text}SM3|{compute_sm3(text.encode()).hex()}\n"


def read_settlement(text: str) -> Settlement:
    """Return the settlement of a file; SettlementInvalid unless digest, totals and order are right."""
    rows = text.splitlines(keepends=True)
    if len(rows) < 4:
        raise SettlementInvalid(f"{len(rows)} lines: needs at least four")
    claimed = rows[-1].strip().removeprefix("SM3|")
    found = compute_sm3("".join(rows[:-1]).encode()).hex()
    if claimed != found:
        raise SettlementInvalid(f"line {len(rows)}: SM3 {claimed}, the bytes before it have {found}")
    try:
        kind, version, funder, day = rows[0].strip().split("|")
        lines = tuple(_read(row) for row in rows[1:-3])
        settlement = Settlement(funder, dt.date.fromisoformat(day), lines)
    except (ValueError, TypeError) as error:
        raise SettlementInvalid(f"not a settlement file: {error}") from error
    if (kind, version) != (_KIND, _FORMAT):
        raise SettlementInvalid(f"line 1: {kind}|{version}, needs {_KIND}|{_FORMAT}")
    if write_settlement(settlement) != text:
        raise SettlementInvalid("totals, net or order of lines are not those of its lines")
    return settlement


def _show(line: Line) -> str:
    return "|".join(map(str, astuple(line))) + "\n"


def _read(row: str) -> Line:
    loan_id, due, *amounts = row.strip().split("|")
    return Line(loan_id, dt.date.fromisoformat(due), *map(int, amounts))


def _fen(line: Line | None) -> str:
    return "nothing" if line is None else "/".join(map(str, astuple(line)[1:])) + " fen"
