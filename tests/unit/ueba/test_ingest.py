"""Nothing that comes in is lost: taken, seen before, or rejected with line, field and reason."""

import datetime as dt
import json

import pyarrow.parquet as pq
import pytest

from ueba.errors import UebaError
from ueba.events import json_schema
from ueba.ingest import ingest_file
from ueba.settings import Settings
from ueba.store import Home

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


def test_csv_says_the_same_as_json(tmp_path):
    when = "2026-03-02T09:30:00+08:00"
    header = "event_id,at,staff,action,customer,rows,assigned,fields"
    lines = [header, f"a1,{when},e1,view,c-7f,,true,name;phone", f"a2,{when},,view,,,,"]
    home, found = take(tmp_path, lines, "in.csv")
    assert (found.taken, found.rejected) == (1, 1)
    (row,) = pq.read_table(home.event_files(home.days())[0]).to_pylist()
    assert (row["assigned"], row["n_fields"], row["rows"]) == (True, 2, 0)
    assert rejects(home)[0]["faults"][0]["field"] == "staff"


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


def test_the_schema_is_published():
    assert set(json_schema()["required"]) == {"event_id", "at", "staff", "action"}
