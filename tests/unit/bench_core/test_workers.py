"""A worker of a bench that fails ends the bench and says why; it never leaves it waiting."""

import os
import pickle

import pytest

from bench.audit import REPAYMENTS_A_LOAN, loans_needed
from bench.core import ours
from bench.core.ours import Done, Work, WorkerFailed, run_workers
from core_app.errors import Kind, Refused

WORK = Work("", "repayments", 0, 1, 1, 1, 1, 1)


def refuse(work: Work) -> Done:
    raise Refused(Kind.RULE, f"worker {work.worker}: no such loan")


def die(work: Work) -> Done:
    os._exit(work.worker + 3)


def count(work: Work) -> Done:
    return work.worker, 2 * work.worker, 0.5


def test_what_workers_did_is_summed() -> None:
    works = [WORK, Work("", "repayments", 3, 1, 1, 1, 1, 1)]
    assert run_workers(works, count) == (3, 6, 1.0)


@pytest.mark.parametrize("run", [refuse, die])
def test_a_worker_that_ends_in_any_way_ends_the_bench(run: object) -> None:
    with pytest.raises(WorkerFailed, match="a worker of repayments ended without a result"):
        run_workers([WORK], run)  # type: ignore[arg-type]


def test_what_the_core_refused_comes_across_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(work: Work) -> Done:
        return refuse(work)

    monkeypatch.setattr(ours, "_post", refused)
    with pytest.raises(WorkerFailed) as raised:
        ours._run(WORK)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert str(copy) == "worker 0 of repayments: Refused: worker 0: no such loan"


@pytest.mark.parametrize(("seconds", "turns"), [(1, 4), (2, 8), (10, 8), (60, 20)])
def test_no_length_of_the_bench_repays_its_loans_in_full(seconds: int, turns: int) -> None:
    repayments = 2 * turns * (seconds + 1) * 5_000
    assert repayments / loans_needed(seconds, turns) <= REPAYMENTS_A_LOAN
