"""Nothing that comes in is lost: taken, seen before, or rejected with line, field and reason."""

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from ueba.daily import find_silent
from ueba.errors import UebaError
from ueba.events import Event, find_skew, json_schema
from ueba.ids import FILE, Ids
from ueba.ingest import ingest_file
from ueba.settings import IngestSettings, Settings
from ueba.store import Home, write_table

NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
GOOD = {
    "event_id": "a1",
    "at": "2026-03-02T09:30:00+08:00",
    "staff": "e1",
    "action": "view",
    "customer": "c-7f",
}


def take(tmp_path, lines, name="in.jsonl", record="event"):
    file = tmp_path / name
    tmp_path.mkdir(exist_ok=True)
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    home = Home(tmp_path / "home")
    return home, ingest_file(home, file, record, NOW, Settings())


def rejects(home):
    files = sorted((home.root / "rejects").glob("*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("wrong", "field", "reason"),
    [
        ({"rows": -1}, "rows", "greater than or equal to 0"),
        ({"at": "2026-03-02T09:30:00"}, "at", "timezone"),
        ({"at": "2026-03-09T09:30:00+08:00"}, "at", "in the future"),
        ({"at": "1970-01-01T00:03:00Z"}, "at", "days back"),
        ({"customer": "13812345678"}, "customer", "phone or identity number"),
        ({"customer": "11010519491231002X"}, "customer", "phone or identity number"),
        ({"staff": None}, "staff", "string"),
        ({"salary": 3}, "salary", "not permitted"),
        ({"dwell_ms": "long"}, "dwell_ms", "integer"),
    ],
)
def test_a_bad_line_is_kept_aside_with_its_number_field_and_reason(tmp_path, wrong, field, reason):
    home, found = take(tmp_path, [GOOD, GOOD | {"event_id": "a2"} | wrong, GOOD | {"event_id": "a3"}])
    assert (found.lines, found.taken, found.rejected) == (3, 2, 1)
    (reject,) = rejects(home)
    assert reject["line"] == 2
    assert reject["faults"][0]["field"] == field
    assert reason in reject["faults"][0]["reason"]
    assert "13812345678" not in json.dumps(reject)


def test_every_line_is_in_exactly_one_count(tmp_path):
    home, found = take(tmp_path, [GOOD, GOOD, GOOD | {"action": "list"}, "{", "[]", GOOD | {"event_id": "b"}])
    assert (found.lines, found.taken, found.seen_before, found.rejected) == (6, 2, 1, 3)
    assert {one["line"] for one in rejects(home)} == {3, 4, 5}


def test_the_same_file_again_doubles_nothing(tmp_path):
    lines = [GOOD | {"event_id": f"x{n}"} for n in range(50)]
    home, _ = take(tmp_path, lines)
    _, again = take(tmp_path, lines[::-1])
    assert (again.taken, again.seen_before) == (0, 50)
    assert sum(pq.read_metadata(file).num_rows for file in home.event_files(home.days())) == 50


def test_a_late_event_goes_to_its_own_local_day(tmp_path):
    home, _ = take(tmp_path, [GOOD, GOOD | {"event_id": "late", "at": "2026-02-27T23:59:00Z"}])
    # 23:59 UTC is 07:59 of the next day in China.
    assert home.days() == [dt.date(2026, 2, 28), dt.date(2026, 3, 2)]


def stored(home):
    files = home.event_files(home.days())
    return sorted(row["event_id"] for file in files for row in pq.ParquetFile(file).read().to_pylist())


OTHER_DAY = {"at": "2026-02-27T09:30:00+08:00"}


def test_an_id_that_was_used_on_another_day_is_named_and_not_taken_twice(tmp_path):
    home, found = take(tmp_path, [GOOD, GOOD | OTHER_DAY, GOOD | {"event_id": "a2"}])
    assert (found.taken, found.rejected) == (2, 1)
    home, again = take(tmp_path, [GOOD | OTHER_DAY, GOOD])
    assert (again.taken, again.seen_before, again.rejected) == (0, 1, 1)
    assert {(one["event_id"], one["faults"][0]["reason"]) for one in rejects(home)} == {
        ("a1", "was used for another event")
    }
    assert stored(home) == ["a1", "a2"]


def test_another_local_time_moves_no_event_to_a_second_day(tmp_path):
    home, _ = take(tmp_path, [GOOD])
    elsewhere = Settings(utc_offset_minutes=-480)
    again = ingest_file(home, tmp_path / "in.jsonl", "event", NOW, elsewhere)
    assert (again.taken, again.seen_before) == (0, 1)
    assert stored(home) == ["a1"]


def test_the_index_of_ids_may_be_lost_or_never_have_known_a_file(tmp_path):
    """As after a death between the events and the index, or a restore of the events alone."""
    home, _ = take(tmp_path, [GOOD])
    (home.root / FILE).unlink()
    _, again = take(tmp_path, [GOOD, GOOD | OTHER_DAY])
    assert (again.taken, again.seen_before, again.rejected) == (0, 1, 1)
    other, _ = take(tmp_path / "other", [GOOD | {"event_id": "b"} | OTHER_DAY])
    (unknown,) = other.event_files(other.days())
    write_table(pq.ParquetFile(unknown).read(), home.day_folder(dt.date(2026, 2, 27)) / "restored.parquet")
    _, late = take(tmp_path, [GOOD | {"event_id": "b"}])
    assert (late.taken, late.rejected) == (0, 1)


def test_a_run_that_dies_after_writing_events_is_repeated_without_doubling(tmp_path, monkeypatch):
    home, _ = take(tmp_path, [GOOD])
    with monkeypatch.context() as patched:
        patched.delattr(Ids, "add")
        with pytest.raises(AttributeError):
            take(tmp_path, [GOOD | {"event_id": "b"}])
    assert stored(home) == ["a1", "b"]
    _, again = take(tmp_path, [GOOD | {"event_id": "b"}, GOOD | {"event_id": "b"} | OTHER_DAY])
    assert (again.taken, again.seen_before, again.rejected) == (0, 1, 1)


def test_two_runs_at_once_take_each_event_once(tmp_path):
    lines = [GOOD | {"event_id": f"x{n}"} for n in range(200)]
    for name in ("one", "two"):
        take(tmp_path / name, lines[:0])
        (tmp_path / name / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    home = Home(tmp_path / "home")

    def run(name):
        return ingest_file(home, tmp_path / name / "in.jsonl", "event", NOW, Settings())

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, ("one", "two")))
    assert sorted((one.taken, one.seen_before) for one in found) == [(0, 200), (200, 0)]
    assert stored(home) == sorted(line["event_id"] for line in lines)


ONE_LINE = st.tuples(st.sampled_from("abcde"), st.integers(0, 3), st.sampled_from(["view", "list"]))


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(files=st.lists(st.lists(ONE_LINE, max_size=6), min_size=1, max_size=4))
def test_whatever_comes_in_whatever_order_each_id_is_one_event(files):
    """The first line with an id is the event, whatever its day; every other is counted or named."""
    first, taken = {}, 0
    with TemporaryDirectory() as folder:
        for file in files:
            lines = [
                GOOD | {"event_id": name, "at": f"2026-02-2{day}T09:30:00+08:00", "action": action}
                for name, day, action in file
            ]
            home, found = take(Path(folder), lines)
            same = sum(first.setdefault(line[0], line) == line for line in file)
            assert found.rejected == len(file) - same
            assert found.taken + found.seen_before == same
            taken += found.taken
        assert taken == len(first)
        assert stored(home) == sorted(first)


def by_clock(minutes):
    """A dozen events of the last quarter of an hour as a source writes whose clock is that much ahead."""
    return [
        GOOD
        | {
            "event_id": f"k{n}",
            "at": (NOW + dt.timedelta(minutes=minutes - n)).isoformat(),
            "system": "database",
        }
        for n in range(12)
    ]


def test_a_clock_that_is_minutes_wrong_within_bounds_loses_nothing(tmp_path):
    for minutes in (-90, -4, 4):
        home, found = take(tmp_path / f"{minutes}", by_clock(minutes))
        assert (found.taken, found.rejected) == (12, 0)
        assert find_silent(home, ["database"], dt.date(2026, 3, 2)) == {"database": 12}


def test_events_of_a_clock_beyond_bounds_are_kept_aside_and_their_source_is_red(tmp_path):
    home, found = take(tmp_path, by_clock(60))
    assert (found.taken, found.rejected) == (0, 12)
    assert {one["event_id"] for one in rejects(home)} == {f"k{n}" for n in range(12)}
    first = next(one for one in rejects(home) if one["event_id"] == "k0")
    assert first["faults"] == [
        {"field": "at", "reason": "lies 3600 s in the future; clocks may differ by 300 s"}
    ]
    assert find_silent(home, ["database"], dt.date(2026, 3, 2)) == {"database": 0}


def test_the_bounds_of_clocks_are_met_to_the_second():
    def skew(**off):
        event = Event(event_id="a1", at=NOW + dt.timedelta(**off), staff="e1", action="view")
        return find_skew(event, NOW, IngestSettings(ahead_s=300, behind_days=10))

    assert [bool(skew(seconds=s)) for s in (300, 301, -1)] == [False, True, False]
    assert [bool(skew(days=-10, seconds=s)) for s in (0, -1)] == [False, True]


def test_events_once_kept_aside_come_in_when_their_clock_is_right_again(tmp_path):
    """What lay in the future is taken by a later run over the same file: it was kept aside, not forgotten."""
    home, found = take(tmp_path, by_clock(10))
    assert (found.taken, found.rejected) == (7, 5)
    again = ingest_file(home, tmp_path / "in.jsonl", "event", NOW + dt.timedelta(minutes=10), Settings())
    assert (again.taken, again.seen_before, again.rejected) == (5, 7, 0)


def test_csv_says_the_same_as_json(tmp_path):
    when = "2026-03-02T09:30:00+08:00"
    header = "event_id,at,staff,action,customer,rows,assigned,fields"
    lines = [header, f"a1,{when},e1,view,c-7f,,true,name;phone", f"a2,{when},,view,,,,"]
    home, found = take(tmp_path, lines, "in.csv")
    assert (found.taken, found.rejected) == (1, 1)
    (row,) = pq.read_table(home.event_files(home.days())[0]).to_pylist()
    assert (row["assigned"], row["n_fields"], row["rows"]) == (True, 2, 0)
    assert rejects(home)[0]["faults"][0]["field"] == "staff"


WHEN = "2026-03-02T09:30:00+08:00"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'a2,%s,"e1,view', "no CSV"),
        (b"a2,%s,e\xff1,view", "no UTF-8"),
        (b"a2,%s,e1,view,more", "more cells"),
        (b"a2,%s,e\x001,view", "match pattern"),
    ],
)
def test_a_csv_line_that_is_broken_spoils_no_other(tmp_path, bad, reason):
    lines = [b"event_id,at,staff,action", b"a1,%s,e1,view", bad, b"", b'"a3",%s,e1,view\r', b"a4,%s,e1,view"]
    file = tmp_path / "in.csv"
    file.write_bytes(b"\n".join(line.replace(b"%s", WHEN.encode()) for line in lines))
    home = Home(tmp_path / "home")
    found = ingest_file(home, file, "event", NOW, Settings())
    assert (found.lines, found.taken, found.rejected) == (4, 3, 1)
    assert stored(home) == ["a1", "a3", "a4"]
    (told,) = rejects(home)
    assert told["line"] == 3
    assert reason in told["faults"][0]["reason"]


@pytest.mark.parametrize("header", ["event_id,at,event_id", "", '"event_id,at', "event_id\rat"])
def test_a_header_that_cannot_be_read_is_told(tmp_path, header):
    with pytest.raises(UebaError, match=r"in\.csv: "):
        take(tmp_path, [header, "a,b"], "in.csv")


def test_an_unknown_column_is_told_before_any_line_is_read(tmp_path):
    with pytest.raises(UebaError, match="surname"):
        take(tmp_path, ["event_id,surname", "a,b"], "in.csv")


def test_a_register_replaces_the_one_before(tmp_path):
    entry = {"staff": "e1", "role": "clerk", "branch": "b1"}
    home, _ = take(tmp_path, [entry, entry | {"staff": "e2"}], "staff.jsonl", "staff")
    take(tmp_path, [entry | {"role": "officer"}], "staff.jsonl", "staff")
    assert home.read_register("staff").select(["staff", "role"]).to_pylist() == [
        {"staff": "e1", "role": "officer"}
    ]


def roles(home):
    return {row["staff"]: row["role"] for row in home.read_register("staff").to_pylist()}


@pytest.mark.parametrize(
    "bad", ['{"staff": "e2", "role": "clerk"', {"staff": "e2", "role": 7, "branch": "b1"}]
)
def test_a_rejected_line_takes_nobody_out_of_a_register(tmp_path, bad):
    """A watch list, a leaver, somebody's role: whoever the line was about, the entry of before stands."""
    entry = {"role": "clerk", "branch": "b1"}
    home, _ = take(tmp_path, [entry | {"staff": f"e{n}"} for n in (1, 2, 3)], "staff.jsonl", "staff")
    changed = [{"staff": "e1", "role": "officer", "branch": "b1"}, bad]
    _, found = take(tmp_path, changed, "staff.jsonl", "staff")
    assert (found.lines, found.taken, found.rejected, found.kept) == (2, 1, 1, 2)
    assert roles(home) == {"e1": "officer", "e2": "clerk", "e3": "clerk"}
    _, whole = take(tmp_path, changed[:1], "staff.jsonl", "staff")
    assert (whole.rejected, whole.kept) == (0, 0)
    assert roles(home) == {"e1": "officer"}


def test_two_lines_of_one_person_that_differ_are_told(tmp_path):
    entry = {"staff": "e1", "role": "clerk", "branch": "b1"}
    home, found = take(tmp_path, [entry, entry, entry | {"role": "officer"}], "staff.jsonl", "staff")
    assert (found.lines, found.taken, found.seen_before, found.rejected) == (3, 1, 1, 1)
    assert rejects(home)[0]["faults"][0] == {
        "field": "staff",
        "reason": "has another line before that says otherwise",
    }
    assert roles(home) == {"e1": "clerk"}


def test_a_relation_is_named_by_both(tmp_path):
    known = {"staff": "e1", "customer": "c1", "relation": "family"}
    home, found = take(tmp_path, [known, known | {"customer": "c2"}], "r.jsonl", "relation")
    assert (found.taken, home.read_register("relation").num_rows) == (2, 2)


def test_the_schema_is_published():
    assert set(json_schema()["required"]) == {"event_id", "at", "staff", "action"}
