"""A whole site-loss drill made by hand: idc dies at second 8, comes back at 20, cells are home at 31."""

import random

from runbooks.drills.checkers import check_all
from runbooks.drills.records import Attempt, GrantNote, Header, History, Kind, Mark, Op, Outcome
from runbooks.drills.rows import CellRows
from runbooks.drills.verdict import SiteLossResult, judge_site_loss
from runbooks.evidence import StageMark
from tests.unit.drills.making import SECOND, make_grant

HOMES = {"a": "idc", "b": "cloud"}
KILL_S, OPEN_S, RESTART_S, REJOIN_S, HOME_S, END_S = 8.0, 9.6, 20.0, 23.0, 31.0, 36.0


def ns(seconds: float) -> int:
    """Seconds of the made drill as monotonic nanoseconds."""
    return int(seconds * SECOND)


def make_history() -> History:
    """The history of the made drill; cell a waits out the take-over, cell b a short degrade."""
    draw = random.Random(3)
    ops = [_make_op(number, draw) for number in range(1, int(END_S * 40))]
    grants = (
        make_grant(0.1, "a", "idc", "cloud"),
        make_grant(0.1, "b", "cloud", "idc"),
        make_grant(KILL_S + 1.2, "a", "idc", "cloud", epoch=2, mode="TAKING"),
        make_grant(OPEN_S - 0.1, "a", "cloud", epoch=2, mode="ALONE"),
        make_grant(KILL_S + 2.2, "b", "cloud", mode="ALONE"),
        make_grant(REJOIN_S - 0.4, "a", "cloud", "idc", epoch=2),
        make_grant(REJOIN_S, "b", "cloud", "idc"),
        make_grant(HOME_S, "a", "idc", "cloud", epoch=3),
    )
    marks = tuple(
        Mark(ns(at), name, name)
        for at, name in (
            (1, "load_start"),
            (KILL_S, "kill"),
            (RESTART_S, "restart"),
            (REJOIN_S, "rejoined"),
            (HOME_S, "home"),
            (END_S, "load_stop"),
        )
    )
    header = Header("site-loss", "idc", 1, 40.0, "t", "2026-11-22T04:00:00+00:00", 0)
    return History(header, tuple(ops), (), tuple(grants), marks)


def make_stages() -> list[StageMark]:
    """What the agent of the copy that took over did."""
    steps = (
        (1.0, "suspect"),
        (1.2, "grant_taking"),
        (1.4, "promoted"),
        (1.5, "grant_primary"),
        (1.6, "opened"),
    )
    return [StageMark(ns(KILL_S + after), "a-cloud-0", "a", stage, 2) for after, stage in steps]


def make_result(history: History) -> SiteLossResult:
    """The made drill judged, with empty but readable books: its acknowledged writes count as lost."""
    rows = {cell: CellRows(cell, 3) for cell in HOMES}
    reads = tuple(op for op in history.ops if op.kind is Kind.BALANCE)
    return judge_site_loss(history, check_all(reads, rows, "t"), HOMES, "idc")


def notes_of(history: History, cell: str) -> list[GrantNote]:
    """The grants of one cell."""
    return [note for note in history.grants if note.cell == cell]


def _make_op(number: int, draw: random.Random) -> Op:
    at_s = number / 40
    cell = draw.choice("ab")
    kind = draw.choice([Kind.REPAYMENT, Kind.REPAYMENT, Kind.BALANCE])
    done_s = at_s + 0.012 * (1 + draw.random())
    if cell == "a" and KILL_S < at_s < OPEN_S:
        done_s = OPEN_S + 0.05 * draw.random()
    if cell == "b" and kind is Kind.REPAYMENT and KILL_S < at_s < KILL_S + 2.2:
        done_s = KILL_S + 2.25 + 0.05 * draw.random()
    epoch = 1 if cell == "b" or done_s < KILL_S else 2 if done_s < HOME_S else 3
    return Op(
        number, kind, f"t-{number}", "idc", cell, ns(at_s), ns(at_s), ns(done_s), Outcome.OK, epoch, 201,
        subject="L", answer={"balance_fen": 10}, attempts=(Attempt("idc", ns(at_s), ns(done_s), Outcome.OK),),
    )  # fmt: skip
