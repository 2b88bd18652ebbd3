"""Are the registers linearizable? Decided exactly, in O(n log n). Pure.

Each write leaves a row with the version it made, so the order of writes is known. Then a history of one
register is linearizable if and only if every value read is the one its version had, and no operation that
ended before another began comes after it in version order (reads directly behind the write they saw).
Deciding this without the order of writes is NP-complete, with it a sort suffices. Source: Gibbons and
Korach, Testing Shared Memories, SIAM J. Comput. 26(4), 1997.
"""

import bisect
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from runbooks.drills.records import Outcome
from runbooks.faults.records import Action, Op
from runbooks.faults.rows import DoneRow, RegisterRow

_FIRST = (0, "")
_NEVER = 2**63
"""End of an operation of which nobody knows when it ended: after everything."""


def find_register_defects(
    ops: Sequence[Op], done: Iterable[DoneRow], registers: Iterable[RegisterRow]
) -> list[str]:
    """Return what is wrong with the registers of one cell, one text a defect."""
    rows: dict[str, dict[int, str]] = defaultdict(dict)
    defects: list[str] = []
    for row in done:
        if row.action in (Action.WRITE, Action.CAS) and row.answer.get("done"):
            key, version = str(row.answer["key"]), int(row.answer["version"])
            if version in rows[key]:
                defects.append(f"{key}: version {version} made by {rows[key][version]} and by {row.token}")
            rows[key][version] = row.token
    final = {row.key: (row.version, row.value) for row in registers}
    by_key: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        if op.key and (op.outcome is Outcome.OK or op.is_write):
            by_key[op.key].append(op)
    for key in sorted(rows.keys() | final.keys()):
        defects += _check_versions(key, rows[key], final.get(key, _FIRST))
    for key in sorted(by_key):
        defects += _check_values(key, by_key[key], rows[key])
        defects += _check_real_time(key, by_key[key])
    return defects


def find_stale_peeks(ops: Iterable[Op]) -> list[tuple[str, float]]:
    """Return (what, seconds) of each plain read that missed a version acknowledged so long before it."""
    done: dict[str, list[tuple[int, int]]] = defaultdict(list)
    peeks: list[Op] = []
    for op in ops:
        if op.outcome is not Outcome.OK or not op.key or "version" not in op.answer:
            continue
        if op.action is Action.PEEK:
            peeks.append(op)
        elif op.completed_ns:
            done[op.key].append((op.completed_ns, int(op.answer["version"])))
    stale = []
    for key, ends in done.items():
        done[key] = _rising(sorted(ends))
    for op in peeks:
        ends = done[op.key]
        first = bisect.bisect_right([version for _, version in ends], int(op.answer["version"]))
        if first < len(ends) and ends[first][0] < op.invoked_ns:
            what = f"{op.key} read by {op.op_id} in epoch {op.epoch}"
            stale.append((what, (op.invoked_ns - ends[first][0]) / 1e9))
    return stale


def _rising(ends: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Keep of (instant, version), by instant, those that raise the highest version known."""
    kept: list[tuple[int, int]] = []
    for at_ns, version in ends:
        if not kept or version > kept[-1][1]:
            kept.append((at_ns, version))
    return kept


def _check_versions(key: str, rows: Mapping[int, str], final: tuple[int, str]) -> list[str]:
    last = max(rows, default=0)
    defects = [f"{key}: version {n} is gone" for n in range(1, last + 1) if n not in rows]
    if final != (last, rows.get(last, "")):
        defects.append(f"{key}: stands at version {final[0]} by {final[1]!r}, last row is version {last}")
    return defects


def _check_values(key: str, ops: Iterable[Op], rows: Mapping[int, str]) -> list[str]:
    defects = []
    for op in ops:
        if op.outcome is not Outcome.OK or op.action is Action.PEEK:
            continue
        version = int(op.answer["version"])
        if version and version not in rows:
            defects.append(f"{key}: {op.action} {op.token} saw version {version}, which nobody kept")
        if op.is_write and op.answer.get("done") and rows.get(version) != op.token:
            defects.append(
                f"{key}: version {version} acknowledged to {op.token}, kept by {rows.get(version)}"
            )
        if op.action is Action.READ and op.answer["value"] != rows.get(version, ""):
            defects.append(
                f"{key}: read {op.answer['value']!r} at version {version}, kept {rows.get(version)}"
            )
        if op.action is Action.CAS and op.answer.get("done") and version != op.arguments["expected"] + 1:
            defects.append(f"{key}: swap of version {op.arguments['expected']} made version {version}")
    return defects


def _check_real_time(key: str, ops: Iterable[Op]) -> list[str]:
    """Nothing that began after another operation's end may come before it in version order."""
    timed = [op for op in ops if op.outcome is Outcome.OK and op.action is not Action.PEEK]
    ended: list[tuple[int, int]] = []
    floor, defects = 0, []
    for op in sorted(timed, key=lambda op: op.invoked_ns):
        while ended and ended[0][0] < op.invoked_ns:
            floor = max(floor, heapq.heappop(ended)[1])
        version = int(op.answer["version"])
        wrote = op.is_write and bool(op.answer.get("done"))
        if version < floor or (wrote and version == floor):
            verb = "wrote" if wrote else "saw"
            defects.append(f"{key}: {op.action} {op.token} {verb} version {version} after {floor} was known")
        heapq.heappush(ended, (op.completed_ns or _NEVER, version))
    return defects
