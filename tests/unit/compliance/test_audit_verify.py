"""An export verifies; each way of tampering with it is found, and the first bad entry is named."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.audit.checkpoint import read_checkpoint
from compliance.audit.errors import ExportUnreadable
from compliance.audit.findings import Defect, Finding
from compliance.audit.signing import make_signer
from compliance.audit.verify import verify_export
from compliance.protection.sm2 import private_key_of
from tests.unit.compliance.made_export import (
    CHAINS,
    KEYS,
    SIGNERS,
    block_lines,
    checkpoint_line,
    make_export,
    make_long_export,
    seal,
    sign,
    write,
)


@lru_cache(1)
def honest() -> tuple[bytes, ...]:
    return tuple(make_export().lines())


def judge(tmp_path: Path, lines: list[bytes]) -> Finding | None:
    return verify_export(write(tmp_path / "x.audit", lines), KEYS, workers=1).first


def at(lines: tuple[bytes, ...] | list[bytes], kind: bytes, nth: int) -> int:
    """Return the index of the nth line (from 0) of a kind."""
    return [index for index, line in enumerate(lines) if line.startswith(kind)][nth]


def test_an_untouched_export_holds(tmp_path: Path) -> None:
    report = verify_export(write(tmp_path / "x.audit", list(honest())), KEYS, workers=1)
    assert report.findings == []
    assert (report.entries, report.blocks, report.checkpoints) == (110, 12, {"idc": 2, "cloud": 2})
    assert report.signatures == 5


def test_the_same_is_found_by_several_processes(tmp_path: Path) -> None:
    export = make_long_export()  # several pieces
    lines = export.lines()
    path = write(tmp_path / "x.audit", lines)
    report = verify_export(path, KEYS, workers=2)
    assert (report.findings, report.entries) == ([], 12_000)
    victim = at(lines, b"E ", 7_017)
    lines[victim] = lines[victim].replace(b"repayment", b"repaiment")
    first = verify_export(write(path, lines), KEYS, workers=2).first
    assert first is not None
    assert (first.defect, first.where, first.number) == (Defect.EDITED, "b", 7_017 - 6_000 + 1)


@pytest.mark.parametrize("nth", [0, 3, 20, 55])
@pytest.mark.parametrize("defect", [Defect.DELETED, Defect.EDITED, Defect.REORDERED, Defect.REPEATED])
def test_the_first_bad_entry_is_named(tmp_path: Path, defect: Defect, nth: int) -> None:
    lines = list(honest())
    victim = at(lines, b"E ", nth)
    match defect:
        case Defect.DELETED:
            del lines[victim]
        case Defect.EDITED:
            lines[victim] = lines[victim].replace(b"posted", b"pasted")
        case Defect.REPEATED:
            lines.insert(victim, lines[victim])
        case _:
            if not lines[victim + 1].startswith(b"E "):
                victim -= 1
            lines[victim : victim + 2] = lines[victim + 1], lines[victim]
    first = judge(tmp_path, lines)
    assert first is not None
    if defect is Defect.REORDERED and first.defect is not defect:
        assert nth == 3  # a block of one entry has nothing to swap with
    else:
        assert first.defect is defect
    number = at(honest(), b"E ", nth) and nth % 55 + 1
    assert first.where == "ab"[nth // 55]
    # Which of two equal lines is the repeated one cannot be told: the later is named.
    assert first.number - number in ((1,) if defect is Defect.REPEATED else (0, -1))


def test_a_missing_block_names_the_entries_it_had(tmp_path: Path) -> None:
    lines = list(honest())
    begin, end = at(lines, b"B ", 2), at(lines, b"B ", 3)
    del lines[begin:end]
    first = judge(tmp_path, lines)
    assert first is not None
    assert (first.defect, first.where, first.number, first.block) == (Defect.DELETED, "a", 5, 3)
    assert "entries 5 to 44" in first.text


def test_a_repeated_block_is_found(tmp_path: Path) -> None:
    lines = list(honest())
    begin, end = at(lines, b"B ", 2), at(lines, b"B ", 3)
    lines[end:end] = lines[begin:end]
    first = judge(tmp_path, lines)
    assert first is not None
    assert (first.defect, first.number, first.block) == (Defect.REPEATED, 45, 4)


def test_swapped_blocks_are_found(tmp_path: Path) -> None:
    lines = list(honest())
    two, three, four = (at(lines, b"B ", nth) for nth in (1, 2, 3))
    lines[two:four] = lines[three:four] + lines[two:three]
    first = judge(tmp_path, lines)
    assert first is not None
    assert (first.defect, first.where, first.number) == (Defect.DELETED, "a", 4)


def test_a_file_cut_short_is_found(tmp_path: Path) -> None:
    whole = b"".join(honest())
    for length in (len(whole) - 1, len(whole) - 300, len(whole) // 2):
        first = judge(tmp_path, [whole[:length]])
        assert first is not None
        assert first.defect in (Defect.TRUNCATED, Defect.UNREADABLE, Defect.DELETED)


def test_blocks_taken_off_the_end_of_a_database_are_found(tmp_path: Path) -> None:
    """The thief owns the database: the export, its end and its signature are honest about what is left."""
    export = make_export()
    del export.chains["a"][-1:]
    first = judge(tmp_path, export.lines())
    assert first is not None
    assert (first.defect, first.where, first.number) == (Defect.TRUNCATED, "a", 52)


def test_a_whole_history_set_back_at_both_sites_is_found_by_what_a_site_remembers(tmp_path: Path) -> None:
    export = make_export()
    export.remember("cloud")
    for chain in export.chains.values():
        del chain[-2:]
    for found in export.checkpoints.values():
        del found[-1:]
    first = judge(tmp_path, export.lines())
    assert first is not None
    assert first.defect is Defect.TRUNCATED
    export.remembered.clear()
    assert judge(tmp_path, export.lines()) is None  # without a memory nobody could tell


def test_a_chain_computed_anew_after_an_edit_is_found_by_the_checkpoints(tmp_path: Path) -> None:
    export = make_export()
    export.chains["a"] = seal("a", (3, 1, 40, 2, 5, 4), lambda n: "mine" if n == 46 else str(n))
    first = judge(tmp_path, export.lines())
    assert first is not None
    assert (first.defect, first.where, first.block) == (Defect.REWRITTEN, "a", 4)
    assert first.number == 45


def test_one_block_computed_anew_is_named_itself(tmp_path: Path) -> None:
    export = make_export()
    other = seal("a", (3, 1, 40, 2, 5, 4), lambda n: "mine" if n == 4 else str(n))
    export.chains["a"][1] = other[1]
    first = judge(tmp_path, export.lines())
    assert first is not None
    assert (first.defect, first.where, first.number, first.block) == (Defect.REWRITTEN, "a", 4, 2)


def test_blocks_of_another_cell_or_another_deployment_are_found(tmp_path: Path) -> None:
    export = make_export()
    lines = export.lines()
    two, three = at(lines, b"B ", 1), at(lines, b"B ", 2)
    lines[two:three] = block_lines(*export.chains["b"][1])
    first = judge(tmp_path, lines)
    assert first is not None
    assert (first.defect, first.where, first.number) == (Defect.SPLICED, "a", 4)


def test_a_block_sealed_in_the_same_cell_of_another_deployment_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole in itself, of the same number and size: only the chain that it was sealed into is another."""
    export = make_export()
    with monkeypatch.context() as patched:
        patched.setitem(CHAINS, "a", "chain-of-z")
        foreign = seal("a", (3, 1, 40, 2, 5, 4))
    export.chains["a"][1] = foreign[1]
    first = judge(tmp_path, export.lines())
    assert first is not None
    assert (first.defect, first.where, first.number, first.block) == (Defect.SPLICED, "a", 4, 2)


@pytest.mark.parametrize("of", ["b", "a"])
def test_an_entry_from_elsewhere_is_found_beside_or_instead_of_another(tmp_path: Path, of: str) -> None:
    """An entry of another cell, and one of the same cell sealed before, played back: both are genuine."""
    cell = f'"cell": "{of}"'.encode()
    genuine = next(line for line in honest() if line.startswith(b"E ") and cell in line)
    for instead, defect in ((False, Defect.INSERTED), (True, Defect.EDITED)):
        lines = list(honest())
        victim = at(lines, b"E ", 10)
        lines[victim : victim + instead] = [genuine]
        first = judge(tmp_path, lines)
        assert first is not None
        assert (first.defect, first.where, first.number) == (defect, "a", 11)


@pytest.mark.parametrize("how", ["stranger", "other site", "bits", "edited"])
def test_a_forged_checkpoint_is_found(tmp_path: Path, how: str) -> None:
    export = make_export()
    real = export.checkpoints["cloud"][1]
    signer = {
        "stranger": make_signer("cloud", private_key_of(b"stranger")),
        "other site": SIGNERS["idc"],
    }.get(how, SIGNERS["cloud"])
    forged = sign(replace(real.statement, key=signer.key_id), signer)
    if how == "bits":
        forged = replace(real, signature=bytes([real.signature[0] ^ 1, *real.signature[1:]]))
    if how == "edited":
        other = replace(real.statement, cells={"a": real.statement.cells["a"]})
        forged = replace(real, statement=other, line=other.to_line())
    lines = export.lines()
    lines[lines.index(checkpoint_line(real))] = checkpoint_line(forged)
    first = judge(tmp_path, lines)
    assert first is not None
    assert (first.defect, first.where, first.number) == (Defect.FORGED, "checkpoints of cloud", 2)


def test_a_repeated_and_a_missing_checkpoint_are_found(tmp_path: Path) -> None:
    lines = list(honest())
    second = at(lines, b"C ", 3)  # the second of cloud: nothing is anchored in it
    repeated = [*lines[:second], lines[second - 1], *lines[second:]]
    missing = [*lines[:second], *lines[second + 1 :]]
    for changed, defect in ((repeated, Defect.REPEATED), (missing, Defect.TRUNCATED)):
        first = judge(tmp_path, changed)
        assert first is not None
        assert (first.defect, first.where, first.number) == (defect, "checkpoints of cloud", 2)


def test_one_site_cannot_rewrite_its_own_past(tmp_path: Path) -> None:
    """idc has its key and the databases, and signs a new history: the other site's anchors contradict it."""
    export = make_export()
    old = export.checkpoints["idc"]
    again = sign(replace(old[0].statement, at=old[0].statement.at.replace("08:00", "08:01")), SIGNERS["idc"])
    second = replace(old[1].statement, previous=again.mark.hash, at=again.statement.at)
    export.checkpoints["idc"] = [again, sign(second, SIGNERS["idc"])]
    first = judge(tmp_path, export.lines())
    assert first is not None
    assert (first.defect, first.where, first.number) == (Defect.REWRITTEN, "checkpoints of idc", 1)


def test_history_that_a_notary_missed_is_reported_for_ever(tmp_path: Path) -> None:
    export = make_export()
    last = export.checkpoints["cloud"][-1].statement
    mark = replace(last.cells["a"].mark, hash="00" * 32)
    export.checkpoints["cloud"][-1] = sign(replace(last, lost={"a": mark}), SIGNERS["cloud"])
    first = judge(tmp_path, export.lines())
    assert first is not None
    assert (first.defect, first.where) == (Defect.LOST, "a")


def test_keys_of_the_file_itself_are_said_not_to_be_pinned(tmp_path: Path) -> None:
    path = write(tmp_path / "x.audit", list(honest()))
    report = verify_export(path, None, workers=1)
    assert (report.first, report.pinned) == (None, False)
    assert verify_export(path, KEYS, workers=1).pinned


def test_what_is_no_export_is_refused_not_judged(tmp_path: Path) -> None:
    with pytest.raises(ExportUnreadable):
        judge(tmp_path, [b"hello\n"])
    with pytest.raises(ExportUnreadable):
        judge(tmp_path, [b""])


def test_a_checkpoint_reads_back_as_it_was_written() -> None:
    one = make_export().checkpoints["idc"][1]
    assert read_checkpoint(one.line, one.signature) == one
    with pytest.raises(ValueError, match="root is another"):
        read_checkpoint(one.line.replace(one.statement.root, "00" * 32), one.signature)


LINES = len(honest())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_random_tampering_goes_unnoticed(tmp_path: Path, data: st.DataObject) -> None:
    lines = list(honest())
    match data.draw(st.sampled_from(["byte", "drop", "double", "swap", "cut", "move"])):
        case "byte":
            nth = data.draw(st.integers(0, LINES - 1))
            place = data.draw(st.integers(0, len(lines[nth]) - 1))
            other = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[nth][place]))
            lines[nth] = lines[nth][:place] + bytes([other]) + lines[nth][place + 1 :]
        case "drop":
            del lines[data.draw(st.integers(0, LINES - 1))]
        case "double":
            nth = data.draw(st.integers(0, LINES - 1))
            lines.insert(data.draw(st.integers(0, LINES)), lines[nth])
        case "swap":
            one, two = data.draw(st.lists(st.integers(0, LINES - 1), min_size=2, max_size=2, unique=True))
            lines[one], lines[two] = lines[two], lines[one]
        case "cut":
            whole = b"".join(lines)
            lines = [whole[: data.draw(st.integers(0, len(whole) - 1))]]
        case _:
            nth = data.draw(st.integers(0, LINES - 1))
            moved = lines.pop(nth)
            lines.insert(data.draw(st.integers(0, LINES - 1).filter(lambda place: place != nth)), moved)
    try:
        found = judge(tmp_path, lines)
    except ExportUnreadable:
        return
    assert found is not None
