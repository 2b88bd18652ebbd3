"""Hand-made operations, rows and grants for the tests of checkers and measures."""

from dataclasses import replace
from typing import Any

from runbooks.drills.records import Attempt, GrantNote, Kind, Op, Outcome
from runbooks.drills.rows import CellRows, CommandRow, EntryRow, LoanRow

PREFIX = "t"
SECOND = 1_000_000_000


def make_op(op_id: int, kind: Kind = Kind.REPAYMENT, **changes: Any) -> Op:
    """An acknowledged repayment of 100 fen on loan L1 of cell a, at second `op_id`, unless told else."""
    at_ns = op_id * SECOND
    op = Op(
        op_id=op_id,
        kind=kind,
        key="" if kind is Kind.BALANCE else f"{PREFIX}-{op_id}",
        entrance="idc",
        cell="a",
        scheduled_ns=at_ns,
        invoked_ns=at_ns,
        completed_ns=at_ns + 10_000_000,
        outcome=Outcome.OK,
        epoch=1,
        status=201,
        amount_fen=100,
        subject="L1",
        answer={"repayment_id": f"R{op_id}", "principal_fen": 100, "balance_fen": 1000 - 100 * (op_id - 1)},
        attempts=(Attempt("idc", at_ns, at_ns + 10_000_000, Outcome.OK, 201),),
    )
    return replace(op, **changes)


def make_draw(op_id: int = 1) -> Op:
    """A draw of 1,000 fen that made loan L1."""
    return make_op(
        op_id, Kind.DRAW, amount_fen=1000, subject="K1", answer={"loan_id": "L1", "balance_fen": 1000}
    )


def make_entries(op: Op) -> tuple[EntryRow, EntryRow]:
    """The two entries of a draw or repayment."""
    loan_fen = op.amount_fen if op.kind is Kind.DRAW else -op.amount_fen
    name = f"T{op.op_id}"
    return (
        EntryRow(f"{name}-1", name, "loans", loan_fen, op.key, "L1"),
        EntryRow(f"{name}-2", name, "cash", -loan_fen, op.key, ""),
    )


def make_rows(ops: tuple[Op, ...], balance_fen: int) -> CellRows:
    """The rows cell a should end with after these acknowledged operations."""
    writes = [op for op in ops if op.is_write and op.outcome is Outcome.OK]
    entries = tuple(entry for op in writes for entry in make_entries(op))
    return CellRows(
        cell="a",
        epoch=max((op.epoch for op in writes), default=1),
        commands=tuple(CommandRow(op.key, op.kind, op.epoch, op.status, op.answer) for op in writes),
        entries=entries,
        loans=(LoanRow("L1", balance_fen, balance_fen),),
    )


def make_grant(
    at_s: float, cell: str, primary: str, *sync: str, epoch: int = 1, mode: str = "SYNC"
) -> GrantNote:
    """A grant note with copies named by site."""
    return GrantNote(
        int(at_s * SECOND),
        cell,
        epoch,
        mode,
        f"{cell}-{primary}-0-x1",
        tuple(f"{cell}-{site}-0-x2" for site in sync),
    )
