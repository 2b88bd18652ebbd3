"""Figures of made histories come out as computed by hand."""

import pytest

from runbooks.drills.measure import (
    Window,
    compute_latency,
    compute_percentile,
    compute_rates,
    compute_rto_seconds,
    compute_write_pause_seconds,
    count_failed,
    find_rejoined_ns,
)
from runbooks.drills.records import Kind, Op, Outcome
from tests.unit.drills.making import SECOND, make_grant, make_op


def test_rto_runs_from_the_kill_to_the_first_write_of_a_newer_epoch() -> None:
    ops = [make_op(1), make_op(5, epoch=2), make_op(6, epoch=2)]
    assert compute_rto_seconds(ops, "a", 2 * SECOND, 1) == pytest.approx(3.01)


def test_rto_ignores_reads_late_answers_of_the_old_epoch_and_other_cells() -> None:
    ops = [
        make_op(3),
        make_op(4, Kind.BALANCE, epoch=2),
        make_op(5, cell="b", epoch=2),
        make_op(6, epoch=2, outcome=Outcome.FAIL),
        make_op(9, epoch=2),
    ]
    assert compute_rto_seconds(ops, "a", 2 * SECOND, 1) == pytest.approx(7.01)


def test_rto_is_none_when_the_cell_never_came_back() -> None:
    assert compute_rto_seconds([make_op(3)], "a", 2 * SECOND, 1) is None


WHOLE = Window(SECOND, 10 * SECOND)


def write_pause(*ops: Op) -> float:
    return compute_write_pause_seconds(ops, "a", WHOLE)


def test_write_pause_runs_from_when_a_write_was_due_to_the_first_acknowledgement() -> None:
    waited = make_op(6, scheduled_ns=3 * SECOND)
    assert write_pause(make_op(1), make_op(2), waited, make_op(7)) == pytest.approx(3.01)


def test_write_pause_begins_with_the_last_acknowledgement_where_writes_were_due_before_it() -> None:
    waited = make_op(6, scheduled_ns=1 * SECOND)
    assert write_pause(make_op(2), waited) == pytest.approx(4.0)


def test_write_pause_does_not_count_silence_in_which_nothing_was_due() -> None:
    assert write_pause(make_op(1), make_op(2), make_op(9)) == pytest.approx(0.01)


def test_write_pause_ignores_reads_and_other_cells() -> None:
    others = [make_op(8, Kind.BALANCE, scheduled_ns=SECOND), make_op(8, cell="b", scheduled_ns=SECOND)]
    assert write_pause(make_op(2), *others) == pytest.approx(0.01)


def test_write_pause_goes_on_over_writes_that_failed() -> None:
    failed = make_op(4, scheduled_ns=2 * SECOND, outcome=Outcome.FAIL)
    assert write_pause(make_op(1), failed, make_op(6, scheduled_ns=3 * SECOND)) == pytest.approx(4.01)


def test_write_pause_counts_what_is_due_at_the_end_of_the_window() -> None:
    assert write_pause(make_op(1), make_op(12, scheduled_ns=4 * SECOND)) == pytest.approx(6.0)


def test_latency_counts_from_the_scheduled_arrival() -> None:
    late = make_op(5, scheduled_ns=1 * SECOND, invoked_ns=5 * SECOND)
    assert compute_latency([late]).max_ms == pytest.approx(4010)


def test_percentile_takes_the_nearest_rank() -> None:
    assert compute_percentile(list(range(1, 101)), 0.99) == 99
    assert compute_percentile([7.0], 0.5) == 7.0
    assert compute_percentile([], 0.5) == 0.0


def test_counts_only_the_cells_own_failures() -> None:
    ops = [make_op(1), make_op(2, outcome=Outcome.FAIL), make_op(3, outcome=Outcome.UNKNOWN, cell="b")]
    assert (count_failed(ops, "a"), count_failed(ops, "b")) == (1, 1)


def test_rates_show_empty_stretches_as_zero() -> None:
    ops = [make_op(1), make_op(3)]
    assert compute_rates(ops, "a", 0, 1.0) == [(1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]


def test_rejoined_when_the_sites_copy_is_named_in_the_sync_set_again() -> None:
    grants = [
        make_grant(0, "a", "idc", "cloud"),
        make_grant(3, "a", "cloud", epoch=2, mode="ALONE"),
        make_grant(20, "a", "cloud", "idc", epoch=2),
    ]
    assert find_rejoined_ns(grants, "a", "idc", 10 * SECOND) == 20 * SECOND


def test_not_rejoined_while_the_sites_copy_is_only_promised_in_a_taking() -> None:
    grants = [make_grant(12, "a", "idc", "cloud", mode="TAKING")]
    assert find_rejoined_ns(grants, "a", "idc", 10 * SECOND) is None


def test_a_site_that_never_left_the_sync_set_rejoined_at_once() -> None:
    assert find_rejoined_ns([make_grant(0, "b", "cloud", "idc")], "b", "idc", 5 * SECOND) == 5 * SECOND
