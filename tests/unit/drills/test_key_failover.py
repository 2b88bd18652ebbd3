"""Whether a key rotation went through a move and a take-over, from what the drill wrote down."""

from runbooks.drills.checkers import Verdict
from runbooks.drills.key_failover import check_failover
from runbooks.drills.records import GrantNote, History, Mark


def note(at_ns: int, cell: str, site: str) -> GrantNote:
    return GrantNote(at_ns, cell, 1, "SYNC", f"{cell}-{site}-0-x{at_ns}")


GRANTS = (
    note(0, "a", "idc"),
    note(0, "b", "cloud"),
    note(30, "b", "idc"),
    note(60, "a", "cloud"),
    note(70, "b", "cloud"),
    note(99, "a", "idc"),
)
MARKS = (
    Mark(20, "move", cell="b"),
    Mark(50, "kill", cell="a"),
    Mark(50, "kill", cell="b"),
    Mark(80, "rotated"),
    Mark(99, "home"),
)


def broken(grants: tuple[GrantNote, ...], marks: tuple[Mark, ...]) -> list[str]:
    found = check_failover(History(None, (), grants=grants, marks=marks))
    return [finding.name for finding in found if finding.verdict is not Verdict.HOLDS]


def test_a_move_a_take_over_and_the_way_home_are_seen() -> None:
    assert broken(GRANTS, MARKS) == []


def test_a_cell_that_was_not_moved_is_found() -> None:
    assert broken(tuple(g for g in GRANTS if g.at_ns != 30), MARKS) == [
        "keys_rotation_saw_a_move",
        "keys_rotation_saw_a_take_over",
    ]


def test_one_cell_that_was_not_taken_over_is_found() -> None:
    assert broken(tuple(g for g in GRANTS if g.at_ns != 60), MARKS) == ["keys_rotation_saw_a_take_over"]


def test_a_take_over_after_the_rotation_shows_nothing_of_it() -> None:
    late = tuple(Mark(55, "rotated") if mark.name == "rotated" else mark for mark in MARKS)
    assert broken(GRANTS, late) == ["keys_rotation_saw_a_take_over"]


def test_a_kill_after_the_rotation_is_none_during_it() -> None:
    late = tuple(Mark(45, "rotated") if mark.name == "rotated" else mark for mark in MARKS)
    assert broken(GRANTS, late) == ["keys_rotation_saw_a_take_over"]


def test_cells_that_stay_away_and_steps_never_taken_are_found() -> None:
    assert broken(GRANTS[:2], (Mark(80, "rotated"),)) == [
        "keys_rotation_saw_a_move",
        "keys_rotation_saw_a_take_over",
        "keys_cells_went_home",
    ]
