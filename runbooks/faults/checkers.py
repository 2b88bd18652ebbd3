"""Judge the matrix's recorded history against the rows that the cells keep. Pure; three-valued.

UNKNOWN is red. `check_workloads` runs after each batch (its operations, its rows) and once more at the
end over everything; `check_epochs` and `check_openings` look at the servers' side only.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from runbooks.drills.checkers import Finding, Verdict, as_unsure, make_finding
from runbooks.drills.records import Kind, Outcome
from runbooks.drills.records import Op as LendingOp
from runbooks.faults.records import Action, Op
from runbooks.faults.registers import find_register_defects, find_stale_peeks
from runbooks.faults.rows import DoneRow, Kept, KeptRows

_PROOF = (Action.ADD, Action.TRANSFER, Action.WRITE)


@dataclass(frozen=True, slots=True)
class Opening:
    """An agent's journal line that says: this place serves clients in this epoch from now on."""

    at_ns: int
    cell: str
    epoch: int
    place: str


def check_workloads(ops: Sequence[Op], kept: Kept, opening_fen: int) -> tuple[Finding, ...]:
    """Run every check of the three workloads; `opening_fen` is what each account was opened with."""
    return (
        check_acknowledged_is_kept(ops, kept),
        check_no_phantom(ops, kept),
        check_answers_agree(ops, kept),
        check_acknowledged_epoch(ops, kept),
        check_epochs(kept),
        check_money(kept, opening_fen),
        check_transfers_whole(kept),
        check_totals_read(ops, kept, opening_fen),
        check_registers(ops, kept),
        check_unknowns_are_resolved(ops),
        check_every_cell_served(ops, kept),
    )


def check_acknowledged_is_kept(ops: Sequence[Op], kept: Kept) -> Finding:
    """Every acknowledged write stands in its cell: no lost add, transfer or write."""
    return _each_acknowledged(
        "matrix_acknowledged_is_kept", ops, kept, lambda op, row: "" if row else "acknowledged, not kept"
    )


def check_answers_agree(ops: Sequence[Op], kept: Kept) -> Finding:
    """The answer that is kept is the one that was given: no second effect under one token."""

    def differs(op: Op, row: DoneRow | None) -> str:
        told = {name: value for name, value in op.answer.items() if name != "replayed"}
        return f"told {told}, kept {dict(row.answer)}" if row and told != dict(row.answer) else ""

    return _each_acknowledged("matrix_answers_agree", ops, kept, differs)


def check_acknowledged_epoch(ops: Sequence[Op], kept: Kept) -> Finding:
    """What an epoch acknowledged is kept from that epoch, not from a later one that had to do it again."""

    def differs(op: Op, row: DoneRow | None) -> str:
        wrong = row is not None and row.epoch != op.epoch
        return f"acknowledged in epoch {op.epoch}, kept by epoch {row.epoch}" if row and wrong else ""

    return _each_acknowledged("matrix_acknowledged_epoch", ops, kept, differs)


def check_no_phantom(ops: Sequence[Op], kept: Kept) -> Finding:
    """Nothing is kept that nobody sent, that certainly failed, or in two cells at once."""
    sent = {op.token: op for op in ops if op.is_write}
    defects, homes = [], Counter[str]()
    for rows in _readable(kept):
        for row in rows.done:
            homes[row.token] += 1
            op = sent.get(row.token)
            if op is None:
                defects.append(f"{row.token}: kept by cell {rows.cell}, never sent")
            elif op.outcome is Outcome.FAIL or op.cell != rows.cell:
                defects.append(f"{row.token}: {op.outcome} in cell {op.cell}, kept by cell {rows.cell}")
    defects += [f"{token}: kept by {count} cells" for token, count in homes.items() if count > 1]
    return make_finding("matrix_no_phantom", defects, homes.total(), kept)


def check_epochs(kept: Kept) -> Finding:
    """By the servers' own rows: an epoch is one copy's, and it ends before the next one begins."""
    defects: list[str] = []
    for rows in _readable(kept):
        spans: dict[int, list[DoneRow]] = defaultdict(list)
        for row in rows.done:
            spans[row.epoch].append(row)
        for epoch, those in spans.items():
            copies = sorted({row.copy for row in those})
            if len(copies) > 1:
                defects.append(f"cell {rows.cell}: epoch {epoch} written by {' and '.join(copies)}")
        ordered = sorted(spans)
        for earlier, later in itertools.pairwise(ordered):
            last = max(spans[earlier], key=lambda row: row.at_us)
            first = min(spans[later], key=lambda row: row.at_us)
            if last.at_us > first.at_us:
                over_ms = (last.at_us - first.at_us) / 1000
                defects.append(
                    f"cell {rows.cell}: epoch {earlier} wrote {last.token} {over_ms:.1f} ms into {later}"
                )
    return make_finding("epochs_do_not_overlap", defects, sum(len(r.done) for r in _readable(kept)), kept)


def check_openings(openings: Iterable[Opening]) -> Finding:
    """By the agents' journals: each epoch of a cell was opened to clients at one place only."""
    places: dict[tuple[str, int], set[str]] = defaultdict(set)
    for opening in openings:
        places[opening.cell, opening.epoch].add(opening.place)
    defects = [
        f"cell {cell}: epoch {epoch} opened at {' and '.join(sorted(found))}"
        for (cell, epoch), found in sorted(places.items())
        if len(found) > 1
    ]
    return make_finding("epochs_have_one_place", defects, len(places), {})


def check_money(kept: Kept, opening_fen: int) -> Finding:
    """Money is neither made nor lost, no account is below zero, each balance is what its legs say."""
    defects: list[str] = []
    looked_at = 0
    for rows in _readable(kept):
        looked_at += len(rows.accounts)
        total_fen = sum(account.balance_fen for account in rows.accounts)
        if total_fen != opening_fen * len(rows.accounts):
            wanted_fen = opening_fen * len(rows.accounts)
            defects.append(f"cell {rows.cell}: {total_fen} fen in all, {wanted_fen} fen opened with")
        for account in rows.accounts:
            name = f"cell {rows.cell} account {account.account}"
            if account.balance_fen < 0:
                defects.append(f"{name}: {account.balance_fen} fen")
            if account.balance_fen != opening_fen + account.legs_fen:
                defects.append(f"{name}: {account.balance_fen} fen, legs add up to {account.legs_fen} fen")
    return make_finding("money_is_constant", defects, looked_at, kept)


def check_transfers_whole(kept: Kept) -> Finding:
    """A transfer that took effect has both its legs, a refused one has none: none is torn or double."""
    rows = [row for cell in _readable(kept) for row in cell.done if row.action == Action.TRANSFER]
    defects = []
    for row in rows:
        whole = len(row.legs_fen) == (2 if row.answer.get("done") else 0) and sum(row.legs_fen) == 0
        if not whole:
            defects.append(f"{row.token}: answer {dict(row.answer)}, legs {row.legs_fen}")
    return make_finding("transfers_are_whole", defects, len(rows), kept)


def check_totals_read(ops: Sequence[Op], kept: Kept, opening_fen: int) -> Finding:
    """Every total that was read while transfers ran is the opening sum, and no account was below zero."""
    accounts = {rows.cell: len(rows.accounts) for rows in _readable(kept)}
    reads = [op for op in ops if op.action is Action.TOTAL and op.outcome is Outcome.OK]
    defects = [
        f"cell {op.cell}: read {op.answer}"
        for op in reads
        if op.cell in accounts
        and (op.answer["total_fen"] != opening_fen * accounts[op.cell] or op.answer["least_fen"] < 0)
    ]
    return make_finding("totals_read_are_constant", defects, len(reads), kept)


def check_registers(ops: Sequence[Op], kept: Kept) -> Finding:
    """Every register is linearizable: writes, swaps and confirmed reads."""
    defects: list[str] = []
    for rows in _readable(kept):
        own = [op for op in ops if op.cell == rows.cell]
        defects += find_register_defects(own, rows.done, rows.registers)
    return make_finding("registers_are_linearizable", defects, sum(bool(op.key) for op in ops), kept)


def check_staleness(stale: Sequence[tuple[str, float]], limit_s: float, looked_at: int) -> Finding:
    """A plain read may be stale only for as long as a primary may go unconfirmed."""
    defects = [f"{what}: {seconds:.2f} s old" for what, seconds in stale if seconds > limit_s]
    return make_finding("plain_reads_are_bounded", defects, looked_at, {})


def find_stale_reads(ops: Sequence[Op], lending: Sequence[LendingOp]) -> list[tuple[str, float]]:
    """Return (what, seconds) of every plain read that missed something acknowledged so long before it."""
    return [*find_stale_peeks(ops), *_find_stale_balances(lending)]


def _find_stale_balances(ops: Sequence[LendingOp]) -> list[tuple[str, float]]:
    """A loan's balance only falls; a read above what a repayment left is older than that repayment."""
    repaid: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for op in ops:
        if op.kind is Kind.REPAYMENT and op.outcome is Outcome.OK:
            repaid[op.subject].append((op.completed_ns, op.answer["balance_fen"]))
    stale = []
    for op in ops:
        if op.kind is Kind.BALANCE and op.outcome is Outcome.OK:
            seen_fen = op.answer["balance_fen"]
            missed = [at_ns for at_ns, left_fen in repaid[op.subject] if left_fen < seen_fen]
            oldest_ns = min(missed, default=op.invoked_ns)
            if oldest_ns < op.invoked_ns:
                what = f"balance of {op.subject} read by {op.op_id} in epoch {op.epoch}"
                stale.append((what, (op.invoked_ns - oldest_ns) / 1e9))
    return stale


def check_unknowns_are_resolved(ops: Sequence[Op]) -> Finding:
    """No write is left of which nobody knows whether it took effect."""
    writes = [op for op in ops if op.is_write]
    found = make_finding("matrix_unknowns_are_resolved", [], len(writes), {})
    return as_unsure(found, [op.token for op in writes if op.outcome is Outcome.UNKNOWN])


def check_every_cell_served(ops: Sequence[Op], kept: Kept) -> Finding:
    """Each cell acknowledged something of each workload: a check over nothing proves nothing."""
    missing = [f"cell {cell}: no {action} acknowledged" for cell, action in find_not_served(ops, kept)]
    return as_unsure(make_finding("every_cell_served", [], len(_PROOF) * len(kept), kept), missing)


def find_not_served(ops: Iterable[Op], cells: Iterable[str]) -> list[tuple[str, Action]]:
    """Return each cell and action of which nothing was acknowledged, for one action a workload."""
    served = {(op.cell, op.action) for op in ops if op.outcome is Outcome.OK}
    return [(cell, action) for cell in cells for action in _PROOF if (cell, action) not in served]


def merge_findings(rounds: Iterable[Sequence[Finding]]) -> tuple[Finding, ...]:
    """Return one finding a check over several rounds: the worst verdict, counts added, first examples."""
    merged: dict[str, list[Finding]] = defaultdict(list)
    for findings in rounds:
        for finding in findings:
            merged[finding.name].append(finding)
    return tuple(_worst(found) for found in merged.values())


def _worst(found: Sequence[Finding]) -> Finding:
    order = (Verdict.HOLDS, Verdict.UNKNOWN, Verdict.BROKEN)
    verdict = max((finding.verdict for finding in found), key=order.index)
    examples = [text for finding in found if finding.verdict is verdict for text in finding.examples]
    return Finding(
        found[0].name,
        verdict,
        sum(f.count for f in found),
        sum(f.looked_at for f in found),
        tuple(examples[:5]),
    )


def _each_acknowledged(
    name: str, ops: Sequence[Op], kept: Kept, judge: Callable[[Op, DoneRow | None], str]
) -> Finding:
    rows: Mapping[str, Mapping[str, DoneRow]] = {
        cell.cell: {row.token: row for row in cell.done} for cell in _readable(kept)
    }
    writes = [op for op in ops if op.is_write and op.outcome is Outcome.OK]
    defects = []
    for op in writes:
        if op.cell in rows and (why := judge(op, rows[op.cell].get(op.token))):
            defects.append(f"{op.action} {op.token} (cell {op.cell}, batch {op.batch}): {why}")
    return make_finding(name, defects, len(writes), kept)


def _readable(kept: Kept) -> list[KeptRows]:
    return [rows for rows in kept.values() if rows is not None]
