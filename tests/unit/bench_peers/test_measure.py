"""The figures of the peers' bench, on hand-made runs: each kind of harm has to show."""

from dataclasses import replace

from bench.peers.measure import judge, summarise
from bench.peers.records import Figures, Found, Marks, Op, Outcome, Transfer

OLD, NEW = 5001, 5002
SECOND = 1_000_000_000
MARKS = Marks(10 * SECOND, 11 * SECOND, 12 * SECOND)
ONE, TWO = Transfer("0-1", 1, 2, 30), Transfer("0-2", 2, 1, 10)
GOOD = Found((ONE, TWO), {1: 980, 2: 1020, 3: 1000})


def op(transfer: Transfer, at_s: float, outcome: Outcome = Outcome.OK, server: int | None = NEW) -> Op:
    ended_ns = int(at_s * SECOND)
    return Op(transfer, ended_ns - 5_000_000, ended_ns, outcome, server if outcome is Outcome.OK else None, 1)


BEFORE, AFTER = op(ONE, 9.0, server=OLD), op(TWO, 12.5)


def figures(*ops: Op, found: Found = GOOD) -> Figures:
    return judge(ops, found, MARKS, {NEW}, 1000)


def test_finds_no_harm_in_a_good_run() -> None:
    seen = figures(BEFORE, AFTER)
    assert (seen.acknowledged, seen.failed, seen.lost, seen.phantom, seen.misbooked) == (2, 0, 0, 0, 0)


def test_counts_seconds_from_the_kill() -> None:
    seen = figures(BEFORE, AFTER)
    assert (seen.noticed_s, seen.promoted_s, seen.first_ack_s) == (1.0, 2.0, 2.5)


def test_a_late_answer_of_the_killed_server_is_not_the_first_write() -> None:
    assert figures(op(ONE, 10.001, server=OLD), AFTER).first_ack_s == 2.5


def test_knows_no_first_write_when_no_survivor_acknowledged_one() -> None:
    assert figures(BEFORE, op(TWO, 70, Outcome.UNKNOWN)).first_ack_s is None


def test_an_acknowledged_row_that_is_gone_is_lost() -> None:
    assert figures(BEFORE, AFTER, found=Found((ONE,), {1: 970, 2: 1030})).lost == 1


def test_an_acknowledged_row_with_another_amount_is_lost_and_a_phantom() -> None:
    seen = figures(BEFORE, AFTER, found=Found((replace(ONE, amount_fen=31), TWO), {1: 979, 2: 1021}))
    assert (seen.lost, seen.phantom) == (1, 1)


def test_a_row_that_nobody_asked_for_is_a_phantom() -> None:
    assert figures(BEFORE).phantom == 1


def test_a_row_that_was_certainly_not_done_is_a_phantom() -> None:
    assert figures(BEFORE, op(TWO, 20, Outcome.NOT_DONE)).phantom == 1


def test_a_row_of_unknown_outcome_may_be_there_or_not() -> None:
    doubtful = op(TWO, 20, Outcome.UNKNOWN)
    there, gone = figures(BEFORE, doubtful), figures(BEFORE, doubtful, found=Found((ONE,), {1: 970, 2: 1030}))
    assert (there.phantom, there.lost, gone.phantom, gone.lost) == (0, 0, 0, 0)


def test_a_transfer_booked_twice_shows_in_both_accounts() -> None:
    assert figures(BEFORE, AFTER, found=replace(GOOD, balances={1: 950, 2: 1050, 3: 1000})).misbooked == 2


def test_a_missing_account_is_misbooked() -> None:
    assert figures(BEFORE, AFTER, found=replace(GOOD, balances={1: 980, 3: 1000})).misbooked == 1


def test_what_was_not_acknowledged_in_time_has_failed_whatever_became_of_it() -> None:
    seen = figures(BEFORE, op(TWO, 20, Outcome.UNKNOWN), op(replace(TWO, key="1-1"), 20, Outcome.NOT_DONE))
    assert (seen.failed, seen.unknown) == (2, 1)


def run(first_ack_s: float | None, noticed_s: float | None = 1.0) -> dict[str, float | int | None]:
    counts = {"operations": 5, "acknowledged": 4, "failed": 1, "unknown": 0}
    harm = {"lost": 0, "phantom": 0, "misbooked": 0}
    return (
        {"noticed_s": noticed_s, "promoted_s": noticed_s and 1.5, "first_ack_s": first_ack_s} | counts | harm
    )


def test_a_summary_has_the_spread_of_the_times_and_the_sums_of_the_counts() -> None:
    summary = summarise([run(2.0), run(4.0), run(3.0)])
    assert summary["first_ack_s"] == {"min": 2.0, "median": 3.0, "max": 4.0}
    assert (summary["promotion_s"], summary["acknowledged"]) == ({"min": 0.5, "median": 0.5, "max": 0.5}, 12)


def test_a_run_without_a_write_is_counted_and_not_averaged_away() -> None:
    summary = summarise([run(2.0), run(None, None)])
    assert (summary["runs"], summary["never"], summary["first_ack_s"]["max"]) == (2, 1, 2.0)


def test_no_runs_at_all_have_no_times() -> None:
    assert summarise([])["first_ack_s"] is None
