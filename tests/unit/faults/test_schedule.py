"""Schedules: the same seed, the same faults; nothing unsafe is composed; spoilt files are refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.faults.catalogue import INJECTORS
from runbooks.faults.model import Batch, FaultPlan, Schedule
from runbooks.faults.schedule import (
    BATCH_LENGTH_S,
    BATCH_MOST,
    MAX_ACTIVE,
    ScheduleError,
    check_schedule,
    compose_schedule,
    read_schedule,
    targets_of,
    write_schedule,
)

CELLS = ("a", "b")


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another_one() -> None:
    assert compose_schedule(7, 60, CELLS) == compose_schedule(7, 60, CELLS)
    assert compose_schedule(7, 60, CELLS) != compose_schedule(8, 60, CELLS)


def test_a_longer_run_begins_with_the_same_faults() -> None:
    short, long = compose_schedule(7, 40, CELLS), compose_schedule(7, 400, CELLS)
    assert long.batches[: len(short.batches) - 1] == short.batches[:-1]


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_every_schedule_keeps_the_rules(seed: int, faults: int) -> None:
    schedule = compose_schedule(seed, faults, CELLS)
    assert schedule.faults == faults
    check_schedule(schedule, CELLS)
    for batch in schedule.batches:
        assert len(batch.faults) <= BATCH_MOST
        assert [fault.at_s for fault in batch.faults] == sorted(fault.at_s for fault in batch.faults)
        assert batch.length_s < 2 * BATCH_LENGTH_S
        for fault in batch.faults:
            active = [f for f in batch.faults if f.at_s <= fault.at_s + 1e-3 < f.at_s + f.duration_s]
            assert len(active) <= MAX_ACTIVE + 1


def test_a_long_schedule_has_every_injector_at_every_target() -> None:
    found = {(f.name, f.target) for batch in compose_schedule(1, 4000, CELLS).batches for f in batch.faults}
    assert {name for name, _ in found} == set(INJECTORS)
    wanted = {(i.name, target) for i in INJECTORS.values() for target in targets_of(i, CELLS)}
    assert len(wanted - found) <= len(wanted) // 50


def test_many_faults_begin_while_another_one_lasts() -> None:
    overlapping = sum(
        any(o.number < f.number and o.at_s + o.duration_s > f.at_s for o in batch.faults)
        for batch in compose_schedule(1, 500, CELLS).batches
        for f in batch.faults
    )
    assert 150 < overlapping < 450


def test_only_the_named_faults_are_drawn() -> None:
    schedule = compose_schedule(1, 50, CELLS, ("link-cut", "site-kill"))
    assert {f.name for batch in schedule.batches for f in batch.faults} == {"link-cut", "site-kill"}


@pytest.mark.parametrize(("names", "faults", "says"), [(("no-such",), 5, "no-such"), ((), 0, "at least 1")])
def test_refuses_what_cannot_be_composed(names: tuple[str, ...], faults: int, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        compose_schedule(1, faults, CELLS, names)


def test_a_schedule_comes_back_from_its_file(tmp_path: Path) -> None:
    schedule = compose_schedule(3, 30, CELLS)
    write_schedule(tmp_path / "s.json", schedule)
    assert read_schedule(tmp_path / "s.json", CELLS) == schedule


def spoil(tmp_path: Path, field: str, value: object) -> Path:
    path = tmp_path / "s.json"
    write_schedule(path, compose_schedule(3, 30, CELLS, ("link-cut",)))
    plain = json.loads(path.read_text())
    plain["batches"][0]["faults"][2][field] = value
    path.write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "no-such", "unknown name 'no-such'"),
        ("target", "idc", "link-cut needs a pair of sites, not 'idc'"),
        ("duration_s", -1, "duration_s"),
        ("pick", "much", r"batches\.0\.faults\.2\.pick"),
    ],
)
def test_a_spoilt_file_is_refused_by_field(tmp_path: Path, field: str, value: object, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        read_schedule(spoil(tmp_path, field, value), CELLS)


def test_two_lost_copies_of_a_cell_in_one_batch_are_refused() -> None:
    faults = tuple(FaultPlan(n, "copy-lost", "copy:a", n, 1.0, 0.5) for n in range(2))
    with pytest.raises(ScheduleError, match="one copy has to be left"):
        check_schedule(Schedule(1, (), (Batch(0, faults),)), CELLS)
