"""From what was recorded to the figures of a run, and from many runs to a summary. No I/O, no clock."""

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bench.peers.records import Figures, Found, Marks, Op, Outcome, Transfer

TIMES = ("noticed_s", "promoted_s", "first_ack_s")
COUNTS = ("operations", "acknowledged", "failed", "unknown", "lost", "phantom", "misbooked")


def judge(
    ops: Sequence[Op], found: Found, marks: Marks, survivors: Collection[int], opening_fen: int
) -> Figures:
    """Return the figures of a run.

    The first acknowledged write is the first that one of the `survivors` (ports) acknowledged: an
    answer of the killed server may still be on its way when the kill begins. Every account began with
    `opening_fen`.
    """
    acks = [op.ended_ns for op in ops if op.outcome is Outcome.OK and op.server in survivors]
    outcomes = Counter(op.outcome for op in ops)
    rows = {row.key: row for row in found.rows}
    return Figures(
        noticed_s=_seconds_after(marks.killed_ns, marks.noticed_ns),
        promoted_s=_seconds_after(marks.killed_ns, marks.promoted_ns),
        first_ack_s=_seconds_after(marks.killed_ns, min(acks, default=None)),
        operations=len(ops),
        acknowledged=outcomes[Outcome.OK],
        failed=outcomes[Outcome.NOT_DONE] + outcomes[Outcome.UNKNOWN],
        unknown=outcomes[Outcome.UNKNOWN],
        lost=sum(op.outcome is Outcome.OK and rows.get(op.transfer.key) != op.transfer for op in ops),
        phantom=_count_phantoms(ops, rows),
        misbooked=_count_misbooked(found, opening_fen),
    )


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Reduce the runs of one side: least, median and greatest time, sums of the counts.

    `never` counts the runs without an acknowledged write after the kill; no time of theirs is used.
    """
    summary: dict[str, Any] = {"runs": len(runs), "never": sum(run["first_ack_s"] is None for run in runs)}
    for name in TIMES:
        values = [run[name] for run in runs if run[name] is not None]
        summary[name] = _spread(values)
    promotions = [
        run["promoted_s"] - run["noticed_s"]
        for run in runs
        if run["promoted_s"] is not None and run["noticed_s"] is not None
    ]
    summary["promotion_s"] = _spread(promotions)
    return summary | {name: sum(run[name] for run in runs) for name in COUNTS}


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "min": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
    }


def _seconds_after(killed_ns: int, at_ns: int | None) -> float | None:
    return None if at_ns is None else round((at_ns - killed_ns) / 1e9, 3)


def _count_phantoms(ops: Iterable[Op], rows: Mapping[str, Transfer]) -> int:
    asked = {op.transfer.key: op for op in ops}
    return sum(
        key not in asked or asked[key].transfer != row or asked[key].outcome is Outcome.NOT_DONE
        for key, row in rows.items()
    )


def _count_misbooked(found: Found, opening_fen: int) -> int:
    wanted = dict.fromkeys(found.balances, opening_fen)
    for row in found.rows:
        wanted[row.debit] = wanted.get(row.debit, opening_fen) - row.amount_fen
        wanted[row.credit] = wanted.get(row.credit, opening_fen) + row.amount_fen
    return sum(found.balances.get(account) != balance for account, balance in wanted.items())
