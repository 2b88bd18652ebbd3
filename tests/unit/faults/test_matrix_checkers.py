"""Each checker of the matrix catches the defect it is there for, and passes a history without one."""

from dataclasses import replace
from pathlib import Path

import pytest

from runbooks.drills.checkers import Finding, Verdict, overall
from runbooks.drills.records import Kind, Outcome
from runbooks.drills.records import Op as LendingOp
from runbooks.faults.checkers import (
    Opening,
    check_openings,
    check_staleness,
    check_workloads,
    find_stale_reads,
    merge_findings,
)
from runbooks.faults.records import Action, Begun, Op, Resolved, settle, unfinished
from runbooks.faults.rows import AccountRow, KeptRows
from runbooks.faults.server_evidence import check_alarms, note_sizes
from tests.unit.faults.making import (
    ADD,
    FIRST,
    GOOD,
    LATE_ADD,
    OPENING_FEN,
    SECOND,
    TRANSFER,
    make_kept,
    make_op,
    make_read,
    make_row,
    make_write,
)

KEPT = make_kept()


def broken(ops: tuple[Op, ...] = GOOD, kept: KeptRows | None = KEPT) -> dict[str, Verdict]:
    """The verdicts that are not HOLDS, by check."""
    found = check_workloads(ops, {"a": kept}, OPENING_FEN)
    return {finding.name: finding.verdict for finding in found if finding.verdict is not Verdict.HOLDS}


def without(op: Op) -> KeptRows:
    return replace(KEPT, done=tuple(row for row in KEPT.done if row.token != op.token))


def changed(op: Op, **changes: object) -> KeptRows:
    done = tuple(replace(row, **changes) if row.token == op.token else row for row in KEPT.done)  # type: ignore[arg-type]
    return replace(KEPT, done=done)


def test_passes_a_history_without_a_defect() -> None:
    assert broken() == {}


def test_catches_an_acknowledged_add_that_is_gone() -> None:
    assert broken(kept=without(ADD)) == {"matrix_acknowledged_is_kept": Verdict.BROKEN}


def test_catches_a_row_that_nobody_sent() -> None:
    stray = make_row(make_op(77, Action.ADD, epoch=2))
    assert broken(kept=replace(KEPT, done=(*KEPT.done, stray))).keys() == {"matrix_no_phantom"}


def test_catches_a_failed_operation_that_took_effect() -> None:
    failed = make_op(8, Action.ADD, outcome=Outcome.FAIL, answer={}, epoch=2)
    kept = replace(KEPT, done=(*KEPT.done, make_row(failed)))
    assert broken(kept=kept).keys() == {"matrix_no_phantom"}


def test_catches_a_token_that_two_cells_keep() -> None:
    other = KeptRows("b", 1, (KEPT.done[0],))
    found = check_workloads(GOOD, {"a": KEPT, "b": other}, OPENING_FEN)
    assert {f.name for f in found if f.verdict is Verdict.BROKEN} == {"matrix_no_phantom"}


def test_catches_an_answer_other_than_the_kept_one() -> None:
    assert broken(kept=changed(TRANSFER, answer={"done": False}, legs_fen=())).keys() == {
        "matrix_answers_agree"
    }


def test_catches_a_commit_that_a_later_epoch_had_to_do_again() -> None:
    assert "matrix_acknowledged_epoch" in broken(kept=changed(ADD, epoch=2, copy="a-idc-0-2"))


def test_catches_an_epoch_that_writes_into_the_next_one() -> None:
    late = changed(ADD, at_us=LATE_ADD.invoked_ns // 1000 + 1)
    assert broken(kept=late).keys() == {"epochs_do_not_overlap"}


def test_catches_an_epoch_of_two_copies() -> None:
    assert broken(kept=changed(ADD, copy="a-cloud-0-1")).keys() == {"epochs_do_not_overlap"}


def test_catches_money_that_was_made() -> None:
    richer = (AccountRow(0, OPENING_FEN, 0), KEPT.accounts[1])
    assert broken(kept=replace(KEPT, accounts=richer)).keys() == {"money_is_constant"}


def test_catches_a_balance_that_no_leg_explains() -> None:
    swapped = (AccountRow(0, OPENING_FEN + 10, -10), AccountRow(1, OPENING_FEN - 10, 10))
    assert broken(kept=replace(KEPT, accounts=swapped)).keys() == {"money_is_constant"}


def test_catches_an_account_below_zero() -> None:
    minus = (AccountRow(0, -1, -1 - OPENING_FEN), AccountRow(1, 2 * OPENING_FEN + 1, OPENING_FEN + 1))
    assert broken(kept=replace(KEPT, accounts=minus)).keys() == {"money_is_constant"}


@pytest.mark.parametrize("legs", [(-10,), (-10, 10, -10, 10), (-10, 11), ()])
def test_catches_a_torn_or_double_transfer(legs: tuple[int, ...]) -> None:
    assert broken(kept=changed(TRANSFER, legs_fen=legs)).keys() == {"transfers_are_whole"}


def test_catches_a_refused_transfer_that_moved_money() -> None:
    refused = replace(TRANSFER, answer={"done": False})
    ops = tuple(refused if op is TRANSFER else op for op in GOOD)
    assert broken(ops, changed(TRANSFER, answer={"done": False})).keys() == {"transfers_are_whole"}


def test_catches_a_total_read_in_the_middle_of_a_transfer() -> None:
    torn = make_op(7, Action.TOTAL, answer={"total_fen": 2 * OPENING_FEN - 10, "least_fen": 990})
    assert broken((*GOOD, torn)).keys() == {"totals_read_are_constant"}


def test_cannot_tell_while_a_write_is_unknown() -> None:
    unknown = make_op(10, Action.ADD, outcome=Outcome.UNKNOWN, answer={})
    assert broken((*GOOD, unknown)) == {"matrix_unknowns_are_resolved": Verdict.UNKNOWN}


def test_cannot_tell_without_the_rows_of_a_cell() -> None:
    found = check_workloads(GOOD, {"a": None}, OPENING_FEN)
    assert overall(found) is Verdict.UNKNOWN
    assert not any(finding.verdict is Verdict.BROKEN for finding in found)


def test_cannot_tell_where_a_cell_served_nothing() -> None:
    assert broken((), KeptRows("a", 1, (), KEPT.accounts)) == {"every_cell_served": Verdict.UNKNOWN}


def test_catches_an_epoch_that_was_opened_at_two_places() -> None:
    twice = [Opening(1, "a", 2, "a-idc-0"), Opening(2, "a", 2, "a-cloud-0")]
    assert check_openings(twice).verdict is Verdict.BROKEN
    assert check_openings([*twice[:1], Opening(2, "a", 3, "a-cloud-0"), *twice[:1]]).verdict is Verdict.HOLDS


def test_a_stale_plain_read_is_measured_from_the_acknowledgement_it_missed() -> None:
    ops = (FIRST, make_write(5, 2), make_write(6, 3), make_read(10, 1, "t-3", Action.PEEK))
    assert find_stale_reads(ops, ()) == [("k read by 10 in epoch 1", 4.5)]
    assert check_staleness([("k", 4.5)], 4.0, 1).verdict is Verdict.BROKEN
    assert check_staleness([("k", 4.5)], 5.0, 1).verdict is Verdict.HOLDS


def test_a_plain_read_during_the_write_is_not_stale() -> None:
    assert find_stale_reads((make_write(5, 2), make_read(5, 1, "t-3", Action.PEEK)), ()) == []


def lending(number: int, kind: Kind, balance_fen: int) -> LendingOp:
    at = number * SECOND
    return LendingOp(
        number, kind, f"t-{number}", "idc", "a", at, at, at + SECOND // 2, Outcome.OK, subject="L1",
        answer={"balance_fen": balance_fen},
    )  # fmt: skip


def test_a_balance_that_misses_a_repayment_is_stale() -> None:
    ops = (lending(1, Kind.REPAYMENT, 900), lending(2, Kind.REPAYMENT, 800), lending(6, Kind.BALANCE, 900))
    assert find_stale_reads((), ops) == [("balance of L1 read by 6 in epoch 0", 3.5)]


def test_the_worst_of_several_rounds_counts() -> None:
    rounds = [
        (Finding("x", Verdict.HOLDS, 0, 5),),
        (Finding("x", Verdict.BROKEN, 1, 3, ("bad",)),),
        (Finding("x", Verdict.UNKNOWN, 1, 1, ("who knows",)),),
    ]
    assert merge_findings(rounds) == (Finding("x", Verdict.BROKEN, 2, 9, ("bad",)),)


def test_an_unknown_operation_that_was_resolved_ends_when_it_was() -> None:
    begun = Begun(1, 0, Action.ADD, "t-1", "a", "idc", 5)
    assert settle([unfinished(begun)], [])[0].outcome is Outcome.UNKNOWN
    (op,) = settle([unfinished(begun)], [Resolved(1, 90, Outcome.OK, 3, {"done": True})])
    assert (op.outcome, op.completed_ns, op.epoch) == (Outcome.OK, 90, 3)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("PANIC:  could not locate a valid checkpoint record", Verdict.BROKEN),
        ("LOG:  invalid page in block 7 of relation base/5/16384", Verdict.BROKEN),
        ("ERROR:  index ledger_pkey is corrupt", Verdict.BROKEN),
        ("HINT:  This means that the backup being taken is corrupt and should not be used.", Verdict.HOLDS),
        ("FATAL:  terminating connection due to administrator command", Verdict.HOLDS),
    ],
)
def test_a_server_that_panicked_or_found_damage_is_told_from_a_backup_cut_off(
    tmp_path: Path, line: str, verdict: Verdict
) -> None:
    log = tmp_path / "idc" / "logs" / "postgres.log"
    log.parent.mkdir(parents=True)
    log.write_text("PANIC:  of a run before\n")
    sizes = note_sizes(tmp_path)
    with log.open("a") as stream:
        stream.write(f"2026-11-23 21:45:00 {line}\n")
    assert check_alarms(tmp_path, sizes).verdict is verdict
