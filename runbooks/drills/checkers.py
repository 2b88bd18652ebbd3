"""Judge a recorded history against the final rows. Pure; every verdict is three-valued.

UNKNOWN is red: a check that could not tell has not held. Each check is one function of the
settled operations and the cells' final rows and returns one `Finding`. A cell whose rows could
not be read is given as None.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runbooks.drills.records import Kind, Op, Outcome
from runbooks.drills.rows import CellRows, CommandRow

Cells = Mapping[str, CellRows | None]
_MOVES_MONEY = (Kind.DRAW, Kind.REPAYMENT)
_EXAMPLES = 5


class Verdict(enum.StrEnum):
    """HOLDS and BROKEN are proven; UNKNOWN means that the evidence does not suffice."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `count` is the number of defects, `looked_at` how much it judged."""

    name: str
    verdict: Verdict
    count: int
    looked_at: int
    examples: tuple[str, ...] = ()


def check_all(ops: Sequence[Op], cells: Cells, key_prefix: str) -> tuple[Finding, ...]:
    """Run every check over settled operations; `key_prefix` marks this drill's keys in the rows."""
    return (
        check_acknowledged_is_kept(ops, cells),
        check_earlier_rows_are_kept(cells),
        check_answers_agree(ops, cells),
        check_no_overlapping_epochs(ops, cells),
        check_effects_happened_once(ops, cells),
        check_no_phantom(ops, cells, key_prefix),
        check_trial_balance(cells),
        check_balances_equal_entries(cells),
        check_repayments_explain_balances(ops, cells),
        check_reads_saw_what_was_acknowledged(ops),
        check_unknowns_are_resolved(ops),
    )


def overall(findings: Iterable[Finding]) -> Verdict:
    """Return BROKEN if any check broke, else UNKNOWN if any could not tell, else HOLDS."""
    verdicts = {finding.verdict for finding in findings}
    for verdict in (Verdict.BROKEN, Verdict.UNKNOWN):
        if verdict in verdicts:
            return verdict
    return Verdict.HOLDS


def count_of(findings: Iterable[Finding], *names: str) -> int | None:
    """Return the defects that the checks called `names` found together, None when one could not tell."""
    wanted = [finding for finding in findings if finding.name in names]
    if any(finding.verdict is Verdict.UNKNOWN for finding in wanted):
        return None
    return sum(finding.count for finding in wanted)


def check_acknowledged_is_kept(ops: Sequence[Op], cells: Cells) -> Finding:
    """Every acknowledged command stands in exactly one cell's command table (else it was lost)."""
    writes = _acknowledged(ops)
    homes: Counter[str] = Counter(row.key for rows in _readable(cells) for row in rows.commands)
    defects = [f"{op.kind} {op.key}: in {homes[op.key]} cells" for op in writes if homes[op.key] != 1]
    return make_finding("acknowledged_is_kept", defects, len(writes), cells)


def check_earlier_rows_are_kept(cells: Cells) -> Finding:
    """Every command that was there before the drill began is still there."""
    defects = [f"{rows.cell}: {key}" for rows in _readable(cells) for key in rows.earlier_missing]
    return make_finding(
        "earlier_rows_are_kept", defects, sum(len(rows.commands) for rows in _readable(cells)), cells
    )


def check_answers_agree(ops: Sequence[Op], cells: Cells) -> Finding:
    """The stored answer of each acknowledged command is the one the customer got."""
    rows = _command_rows(cells)
    pairs = [(op, rows[op.key]) for op in _acknowledged(ops) if op.key in rows]
    defects = [
        f"{op.kind} {op.key}: told {op.answer}, kept {dict(row.response)}"
        for op, row in pairs
        if dict(row.response) != op.answer
    ]
    return make_finding("answers_agree", defects, len(pairs), cells)


def check_no_overlapping_epochs(ops: Sequence[Op], cells: Cells) -> Finding:
    """No commit acknowledged under an older epoch is missing from the newer history (I4).

    Missing means: its row is gone, or the row was written by a later epoch (the first commit was
    lost and the command run again). A late answer for a commit that the newer epoch holds is fine.
    """
    rows = _command_rows(cells)
    newest = {cell.cell: cell.epoch for cell in _readable(cells)}
    writes = _acknowledged(ops)
    defects = []
    for op in writes:
        row = rows.get(op.key)
        if row is None and op.epoch < newest.get(op.cell, 0):
            defects.append(f"{op.key}: acknowledged in epoch {op.epoch}, not in epoch {newest[op.cell]}")
        elif row is not None and row.epoch != op.epoch:
            defects.append(f"{op.key}: acknowledged in epoch {op.epoch}, kept by epoch {row.epoch}")
    return make_finding("no_overlapping_epochs", defects, len(writes), cells)


def check_effects_happened_once(ops: Sequence[Op], cells: Cells) -> Finding:
    """Each acknowledged draw and repayment has one balanced transaction of its amount, and one only."""
    entries: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for rows in _readable(cells):
        for entry in rows.entries:
            entries[entry.key][entry.transaction_id].append(entry.amount_fen)
    money = [op for op in _acknowledged(ops) if op.kind in _MOVES_MONEY]
    defects = [f"{op.kind} {op.key}: {why}" for op in money if (why := _effect_defect(op, entries[op.key]))]
    subjects = Counter(op.answer.get("repayment_id") or op.answer.get("loan_id") for op in money)
    defects += [f"{subject}: given to {times} commands" for subject, times in subjects.items() if times > 1]
    return make_finding("effects_happened_once", defects, len(money), cells)


def _effect_defect(op: Op, transactions: Mapping[str, list[int]]) -> str:
    if len(transactions) != 1:
        return f"{len(transactions)} transactions in the ledger"
    (amounts,) = transactions.values()
    moved = sum(amount for amount in amounts if amount > 0)
    if sum(amounts) != 0:
        return f"entries add up to {sum(amounts)} fen"
    if op.amount_fen and moved != op.amount_fen:
        return f"{moved} fen moved, {op.amount_fen} fen asked for"
    return ""


def check_no_phantom(ops: Sequence[Op], cells: Cells, key_prefix: str) -> Finding:
    """Nothing stands in the books that nobody asked for or that was known to have failed."""
    sent = {op.key: op for op in ops if op.is_write}
    rows = _command_rows(cells)
    defects = [f"{key}: never sent" for key in rows if key.startswith(key_prefix) and key not in sent]
    defects += [
        f"{op.kind} {key}: reported as failed, yet in the books"
        for key, op in sent.items()
        if op.outcome is Outcome.FAIL and key in rows
    ]
    orphans = {e.key for cell in _readable(cells) for e in cell.entries if e.key and e.key not in rows}
    defects += [f"{key}: ledger entries without a command" for key in sorted(orphans)]
    return make_finding("no_phantom", defects, len(rows), cells)


def check_trial_balance(cells: Cells) -> Finding:
    """Debits equal credits in each cell."""
    defects = [
        f"{rows.cell}: {rows.trial_balance_fen} fen"
        for rows in _readable(cells)
        if rows.trial_balance_fen != 0
    ]
    return make_finding("trial_balance", defects, sum(len(rows.entries) for rows in _readable(cells)), cells)


def check_balances_equal_entries(cells: Cells) -> Finding:
    """Each loan's stored balance is the sum of its ledger entries."""
    loans = [loan for rows in _readable(cells) for loan in rows.loans]
    defects = [
        f"{loan.loan_id}: balance {loan.balance_fen}, entries {loan.entries_fen} fen"
        for loan in loans
        if loan.balance_fen != loan.entries_fen
    ]
    return make_finding("balances_equal_entries", defects, len(loans), cells)


def check_repayments_explain_balances(ops: Sequence[Op], cells: Cells) -> Finding:
    """What was drawn less the principal of all acknowledged repayments is what each loan owes now."""
    known: dict[str, int] = {}
    unsure: set[str] = set()
    for op in ops:
        if op.kind is Kind.DRAW and op.outcome is Outcome.OK:
            known[op.answer["loan_id"]] = known.get(op.answer["loan_id"], 0) + op.answer["balance_fen"]
        elif op.kind is Kind.REPAYMENT and op.outcome is Outcome.OK:
            known[op.subject] = known.get(op.subject, 0) - op.answer["principal_fen"]
        elif op.kind is Kind.REPAYMENT and op.outcome is Outcome.UNKNOWN:
            unsure.add(op.subject)
    final = {loan.loan_id: loan.balance_fen for rows in _readable(cells) for loan in rows.loans}
    defects = [
        f"{loan}: owes {final.get(loan)}, acknowledgements say {owed} fen"
        for loan, owed in known.items()
        if loan not in unsure and final.get(loan) != owed
    ]
    found = make_finding("repayments_explain_balances", defects, len(known), cells)
    return as_unsure(found, sorted(unsure & known.keys())) if not defects else found


def check_reads_saw_what_was_acknowledged(ops: Sequence[Op]) -> Finding:
    """A balance read sent after a repayment was acknowledged shows that repayment (balances only fall)."""
    repaid: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for op in ops:
        if op.kind is Kind.REPAYMENT and op.outcome is Outcome.OK:
            repaid[op.subject].append((op.completed_ns, op.answer["balance_fen"]))
    reads = [op for op in ops if op.kind is Kind.BALANCE and op.outcome is Outcome.OK]
    defects = []
    for read in reads:
        earlier = [balance for done, balance in repaid[read.subject] if done < read.invoked_ns]
        if earlier and read.answer["balance_fen"] > min(earlier):
            defects.append(f"{read.subject}: read {read.answer['balance_fen']} after {min(earlier)} fen")
    return make_finding("reads_saw_what_was_acknowledged", defects, len(reads), {})


def check_unknowns_are_resolved(ops: Sequence[Op]) -> Finding:
    """No write is left of which nobody knows whether it took effect."""
    writes = [op for op in ops if op.is_write]
    open_keys = [op.key for op in writes if op.outcome is Outcome.UNKNOWN]
    found = make_finding("unknowns_are_resolved", [], len(writes), {})
    return as_unsure(found, open_keys)


def _acknowledged(ops: Iterable[Op]) -> list[Op]:
    return [op for op in ops if op.is_write and op.outcome is Outcome.OK]


def _readable(cells: Cells) -> list[CellRows]:
    return [rows for rows in cells.values() if rows is not None]


def _command_rows(cells: Cells) -> dict[str, CommandRow]:
    return {row.key: row for rows in _readable(cells) for row in rows.commands}


def make_finding(
    name: str, defects: Sequence[str], looked_at: int, cells: Mapping[str, object | None]
) -> Finding:
    """Return BROKEN with defects, HOLDS without; UNKNOWN when the rows of a cell are None."""
    unread = [cell for cell, rows in cells.items() if rows is None]
    if unread:
        # With a cell missing from the evidence neither a defect nor its absence is proven.
        unreadable = tuple(f"rows of cell {cell} could not be read" for cell in unread)
        return Finding(name, Verdict.UNKNOWN, 0, looked_at, unreadable)
    verdict = Verdict.BROKEN if defects else Verdict.HOLDS
    return Finding(name, verdict, len(defects), looked_at, tuple(defects[:_EXAMPLES]))


def as_unsure(found: Finding, open_things: Sequence[str]) -> Finding:
    """Return UNKNOWN instead of HOLDS when something is left open."""
    if not open_things or found.verdict is not Verdict.HOLDS:
        return found
    return Finding(
        found.name, Verdict.UNKNOWN, len(open_things), found.looked_at, tuple(open_things[:_EXAMPLES])
    )
