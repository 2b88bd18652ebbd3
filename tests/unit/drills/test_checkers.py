"""Each checker catches the defect it is there for, and passes a history without one."""

from dataclasses import replace

import pytest

from runbooks.drills.checkers import Finding, Verdict, check_all, count_of, overall
from runbooks.drills.records import History, Kind, Op, Outcome, Resolution
from runbooks.drills.rows import CellRows, CommandRow, EntryRow, LoanRow
from tests.unit.drills.making import PREFIX, SECOND, make_draw, make_entries, make_op, make_rows

GOOD = (
    make_draw(1),
    make_op(2),
    make_op(3, epoch=2),
    make_op(4, Kind.BALANCE, answer={"balance_fen": 800}, epoch=2),
    make_op(5, outcome=Outcome.FAIL, status=503, answer={}, epoch=0),
)
GOOD_ROWS = make_rows(GOOD, 800)


def broken(ops: tuple[Op, ...] = GOOD, rows: CellRows | None = GOOD_ROWS) -> dict[str, Finding]:
    """The findings that do not hold, by name."""
    found = check_all(ops, {"a": rows}, PREFIX)
    return {finding.name: finding for finding in found if finding.verdict is not Verdict.HOLDS}


def without(key: str) -> CellRows:
    """The good rows as if one command had never been."""
    return replace(
        GOOD_ROWS,
        commands=tuple(row for row in GOOD_ROWS.commands if row.key != key),
        entries=tuple(entry for entry in GOOD_ROWS.entries if entry.key != key),
    )


def test_passes_a_history_without_a_defect() -> None:
    assert broken() == {}


def test_counts_an_acknowledged_repayment_that_is_gone_as_lost() -> None:
    found = check_all(GOOD, {"a": without("t-2")}, PREFIX)
    assert count_of(found, "acknowledged_is_kept") == 1


def test_counts_a_command_that_stands_in_two_cells() -> None:
    double = replace(without("t-1"), cell="b", loans=(), entries=())
    found = check_all(GOOD, {"a": GOOD_ROWS, "b": double}, PREFIX)
    assert count_of(found, "acknowledged_is_kept") == 2


def test_catches_a_commit_of_an_old_epoch_that_the_new_one_lacks() -> None:
    found = check_all(GOOD, {"a": without("t-2")}, PREFIX)
    assert count_of(found, "no_overlapping_epochs") == 1


def test_catches_a_commit_that_a_later_epoch_had_to_run_again() -> None:
    rerun = tuple(replace(row, epoch=2) if row.key == "t-2" else row for row in GOOD_ROWS.commands)
    assert broken(rows=replace(GOOD_ROWS, commands=rerun))["no_overlapping_epochs"].count == 1


def test_allows_a_late_answer_for_a_commit_that_the_new_epoch_holds() -> None:
    late = replace(GOOD[1], completed_ns=GOOD[2].completed_ns + SECOND)
    assert broken((GOOD[0], late, *GOOD[2:])) == {}


def test_catches_an_earlier_row_that_vanished() -> None:
    assert "earlier_rows_are_kept" in broken(rows=replace(GOOD_ROWS, earlier_missing=("old-1",)))


def test_catches_an_answer_other_than_the_stored_one() -> None:
    told = replace(GOOD[1], answer={**GOOD[1].answer, "repayment_id": "R999"})
    assert broken((GOOD[0], told, *GOOD[2:])).keys() == {"answers_agree"}


def test_catches_a_repayment_booked_twice() -> None:
    again = tuple(replace(entry, transaction_id="T99") for entry in make_entries(GOOD[1]))
    rows = replace(GOOD_ROWS, entries=GOOD_ROWS.entries + again)
    assert broken(rows=rows)["effects_happened_once"].count == 1


def test_catches_a_repayment_that_was_never_booked() -> None:
    rows = replace(GOOD_ROWS, entries=tuple(e for e in GOOD_ROWS.entries if e.key != "t-2"))
    assert broken(rows=rows)["effects_happened_once"].count == 1


def test_catches_a_repayment_booked_with_another_amount() -> None:
    entries = tuple(
        replace(e, amount_fen=e.amount_fen // 2) if e.key == "t-2" else e for e in GOOD_ROWS.entries
    )
    assert broken(rows=replace(GOOD_ROWS, entries=entries))["effects_happened_once"].count == 1


def test_catches_two_commands_given_the_same_repayment() -> None:
    same = replace(GOOD[2], answer={**GOOD[2].answer, "repayment_id": "R2"})
    assert "effects_happened_once" in broken((*GOOD[:2], same, *GOOD[3:]))


def test_catches_a_row_that_nobody_sent() -> None:
    phantom = CommandRow("t-77", "repayment", 1, 201, {})
    assert broken(rows=replace(GOOD_ROWS, commands=(*GOOD_ROWS.commands, phantom))).keys() == {"no_phantom"}


def test_leaves_rows_of_others_alone() -> None:
    other = CommandRow("somebody-else", "repayment", 1, 201, {})
    assert broken(rows=replace(GOOD_ROWS, commands=(*GOOD_ROWS.commands, other))) == {}


def test_catches_a_failed_command_that_took_effect() -> None:
    row = CommandRow("t-5", "repayment", 1, 201, {})
    assert broken(rows=replace(GOOD_ROWS, commands=(*GOOD_ROWS.commands, row))).keys() == {"no_phantom"}


def test_catches_entries_without_a_command() -> None:
    stray = (EntryRow("x1", "X", "loans", 5, "t-88"), EntryRow("x2", "X", "cash", -5, "t-88"))
    assert "no_phantom" in broken(rows=replace(GOOD_ROWS, entries=GOOD_ROWS.entries + stray))


def test_catches_a_trial_balance_other_than_zero() -> None:
    assert broken(rows=replace(GOOD_ROWS, trial_balance_fen=1)).keys() == {"trial_balance"}


def test_catches_a_balance_that_is_not_the_sum_of_its_entries() -> None:
    rows = replace(GOOD_ROWS, loans=(LoanRow("L1", 800, 799),))
    assert broken(rows=rows).keys() == {"balances_equal_entries"}


def test_catches_a_balance_that_acknowledged_repayments_do_not_explain() -> None:
    rows = replace(GOOD_ROWS, loans=(LoanRow("L1", 900, 900),))
    assert broken(rows=rows).keys() == {"repayments_explain_balances"}


def test_catches_a_read_that_missed_an_acknowledged_repayment() -> None:
    stale = replace(GOOD[3], answer={"balance_fen": 1000})
    assert broken((*GOOD[:3], stale, GOOD[4])).keys() == {"reads_saw_what_was_acknowledged"}


def test_an_unknown_left_open_cannot_be_called_good() -> None:
    open_op = make_op(6, outcome=Outcome.UNKNOWN, answer={}, epoch=0)
    found = check_all((*GOOD, open_op), {"a": GOOD_ROWS}, PREFIX)
    assert overall(found) is Verdict.UNKNOWN
    assert [finding.count for finding in found if finding.name == "unknowns_are_resolved"] == [1]


def test_rows_that_could_not_be_read_prove_nothing() -> None:
    found = check_all(GOOD, {"a": None}, PREFIX)
    assert overall(found) is Verdict.UNKNOWN
    assert count_of(found, "acknowledged_is_kept") is None


@pytest.mark.parametrize("order", [(Verdict.BROKEN, Verdict.UNKNOWN), (Verdict.UNKNOWN, Verdict.BROKEN)])
def test_broken_outweighs_unknown(order: tuple[Verdict, Verdict]) -> None:
    found = [Finding(str(n), verdict, 1, 1) for n, verdict in enumerate(order)]
    assert overall(found) is Verdict.BROKEN


def test_a_repayment_resolved_later_may_have_been_booked_as_late_as_that() -> None:
    """What a customer was left unsure of and the drill repeated at its end: reads in between may miss it."""
    unsure = replace(GOOD[1], outcome=Outcome.UNKNOWN, answer={}, epoch=0)
    read = replace(GOOD[3], answer={"balance_fen": 1000})
    found = Resolution(2, Outcome.OK, 99 * SECOND, "a", 2, answer=GOOD[1].answer)
    history = History(None, (GOOD[0], unsure, read), (found,))
    (checked,) = [f for f in check_all(history.settled(), {"a": GOOD_ROWS}, PREFIX) if "reads_saw" in f.name]
    assert checked.verdict is Verdict.HOLDS
