"""What is chosen, missing, kept and due, over histories of several timelines."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.backup.errors import ArchiveBroken, TargetOutsideArchive
from replication.backup.plan import (
    Ancestor,
    Archived,
    Backup,
    Kind,
    StreamStart,
    Timetable,
    WalName,
    chain_of,
    check_segment_head,
    choose_chain,
    decide_due,
    find_missing,
    find_range,
    needed_segment,
    parse_history,
    plan_retention,
    plan_stream_start,
    superfluous,
)
from replication.model import WAL_SEGMENT_BYTES

S = WAL_SEGMENT_BYTES
ONE = (Ancestor(1, 0, None),)
FORKED = parse_history(f"1\t0/{5 * S + 0x100:X}\tno recovery target specified\n", 2)
T0 = datetime(2026, 11, 22, tzinfo=UTC)


def have(*whole: tuple[int, int], begun: tuple[tuple[int, int], ...] = ()) -> Archived:
    return Archived(frozenset(WalName(*w) for w in whole), frozenset(WalName(*b) for b in begun))


def backup(
    hour: float, parent: str | None = None, *, timeline: int = 1, segment: int | None = None
) -> Backup:
    at = T0 + timedelta(hours=hour)
    start = (segment if segment is not None else int(hour)) * S + 40
    kind = Kind.INCREMENTAL if parent else Kind.FULL
    return Backup(f"b{hour:g}", kind, parent, at, at + timedelta(minutes=1), timeline, start, start + 1000)


@given(st.integers(1, 0xFFFFFFFF), st.integers(0, (1 << 40) - 1))
def test_a_segments_name_is_read_back(timeline: int, number: int) -> None:
    assert WalName.parse(str(WalName(timeline, number))) == WalName(timeline, number)


def test_a_segment_is_named_as_postgresql_names_it() -> None:
    assert str(WalName(3, (1 << 32) // S + 0x23)) == "000000030000000100000023"
    assert WalName.parse("00000003.history") is None


def test_a_history_says_where_each_timeline_ended() -> None:
    text = "1\t0/5000100\tno recovery target specified\n\n2\t0/7000000\twhy # not\n"
    assert [(a.timeline, a.end_lsn) for a in parse_history(text, 5)] == [
        (1, 0x5000100), (2, 0x7000000), (5, None),
    ]  # fmt: skip


def test_the_segment_of_a_fork_is_needed_on_the_new_timeline() -> None:
    assert [needed_segment(FORKED, n).timeline for n in (4, 5, 6)] == [1, 2, 2]


def test_a_gap_is_found_and_only_the_last_segment_may_be_begun() -> None:
    there = have((1, 3), (1, 5), begun=((1, 6),))
    assert find_missing(ONE, there, 3 * S, 6 * S + 9) == (WalName(1, 4),)
    assert find_missing(ONE, there, 5 * S, 6 * S + 9) == ()
    assert find_missing(ONE, there, 5 * S, 7 * S + 9) == (WalName(1, 6), WalName(1, 7))


def test_an_abandoned_tail_does_not_stand_in_for_the_new_timeline() -> None:
    assert find_missing(FORKED, have((1, 4), (1, 5), (1, 6)), 4 * S, 6 * S + 1) == (
        WalName(2, 5), WalName(2, 6),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("there", "ended", "start"),
    [
        (have(), (), StreamStart(2, 9 * S)),
        (have((1, 3)), (), StreamStart(1, 4 * S)),
        (have((1, 3), begun=((1, 4),)), (), StreamStart(1, 4 * S)),
        (have((1, 4), begun=((1, 5),)), (), StreamStart(1, 5 * S)),
        (have((1, 4), begun=((1, 5),)), (1,), StreamStart(2, 5 * S)),
        (have((1, 4), (1, 5), (1, 6)), (), StreamStart(2, 5 * S)),
        (have((1, 4), begun=((1, 5), (2, 5))), (), StreamStart(2, 5 * S)),
        (have((1, 4), (2, 5), begun=((1, 7),)), (), StreamStart(2, 6 * S)),
    ],
    ids=["empty", "behind", "begun", "fork begun", "fork streamed", "abandoned tail", "new begun", "new"],
)
def test_streaming_goes_on_where_the_archive_ends(
    there: Archived, ended: tuple[int, ...], start: StreamStart
) -> None:
    assert plan_stream_start(FORKED, there, 9 * S + 77, ended) == start


def test_a_foreign_segment_is_known_by_its_first_page() -> None:
    name = WalName(2, 5)
    numbers = [(0xD118, 2), (2, 2), (2, 4), (5 * S, 8), (0, 8), (77, 8), (S, 4), (8192, 4)]
    head = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    check_segment_head(head, name, "77")
    with pytest.raises(ArchiveBroken, match="of system 77, this archive is of 78"):
        check_segment_head(head, name, "78")
    with pytest.raises(ArchiveBroken, match="header says"):
        check_segment_head(head, WalName(2, 6), "77")
    with pytest.raises(ArchiveBroken, match="header says"):
        check_segment_head(head, WalName(1, 5), "77")


def test_the_newest_backup_before_the_instant_is_chosen_with_its_chain() -> None:
    backups = [backup(1), backup(2, "b1"), backup(3, "b2"), backup(4)]
    covered = T0 + timedelta(hours=9)
    chosen = choose_chain(backups, ONE, covered, T0 + timedelta(hours=3.5))
    assert [b.label for b in chosen] == ["b1", "b2", "b3"]


def test_a_backup_of_an_abandoned_history_is_not_chosen() -> None:
    backups = [backup(3, timeline=1), backup(6, timeline=1), backup(7, timeline=3)]
    chosen = choose_chain(backups, FORKED, T0 + timedelta(hours=9), T0 + timedelta(hours=8))
    assert [b.label for b in chosen] == ["b3"]


def test_a_chain_with_a_link_missing_is_none() -> None:
    assert chain_of([backup(3, "b2")], backup(3, "b2")) is None


@pytest.mark.parametrize("hours", [0.5, 1.01, 9.0], ids=["before", "within the backup", "not yet covered"])
def test_an_instant_outside_the_range_is_refused_with_the_range(hours: float) -> None:
    with pytest.raises(TargetOutsideArchive, match=r"from 2026-11-22T01:01:00.* to 2026-11-22T08:59:59"):
        choose_chain([backup(1)], ONE, T0 + timedelta(hours=9), T0 + timedelta(hours=hours))


def test_without_a_backup_there_is_no_range() -> None:
    assert find_range([], ONE, T0).first is None


chains = st.lists(st.sampled_from(["full", "incremental"]), min_size=1, max_size=12)


@given(chains, st.integers(1, 4))
def test_retention_never_drops_what_a_kept_backup_needs(kinds: list[str], keep: int) -> None:
    backups: list[Backup] = []
    for hour, kind in enumerate(kinds, 1):
        parent = backups[-1].label if backups and kind == "incremental" else None
        backups.append(backup(hour, parent, segment=hour * 3))
    plan = plan_retention(backups, keep)
    kept = [b for b in backups if b.label not in plan.drop]
    gone = superfluous([WalName(1, n) for n in range(60)], plan.keep_from_lsn)
    assert [b for b in kept if b.kind is Kind.FULL] == [b for b in backups if b.kind is Kind.FULL][-keep:]
    assert all(chain_of(kept, b) for b in kept)
    assert all(n.start_lsn + S <= b.start_lsn for n in gone for b in kept)


def test_without_a_full_backup_no_wal_is_dropped() -> None:
    assert superfluous([WalName(1, 3)], plan_retention([], 2).keep_from_lsn) == ()


TABLE = Timetable(full_every=timedelta(hours=24), incremental_every=timedelta(hours=1))


@pytest.mark.parametrize(
    ("hours", "on_standby", "due"),
    [(1.5, True, None), (2.5, True, Kind.INCREMENTAL), (2.5, False, None), (3.5, False, Kind.INCREMENTAL),
     (26, True, Kind.FULL), (26, False, Kind.INCREMENTAL), (50, False, Kind.FULL)],
)  # fmt: skip
def test_a_standby_takes_the_backup_and_a_primary_only_when_none_did(
    hours: float, on_standby: bool, due: Kind | None
) -> None:
    assert decide_due((backup(1),), TABLE, T0 + timedelta(hours=hours), on_standby=on_standby) is due


def test_a_cell_without_a_sound_chain_is_due_a_full_backup() -> None:
    assert decide_due(None, TABLE, T0, on_standby=False) is Kind.FULL
