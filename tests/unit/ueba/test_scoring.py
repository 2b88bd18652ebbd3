"""The whole on a made-up organisation: found, explained, replayed; less evidence is a lower level."""

import dataclasses
import datetime as dt
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ueba.calibrate import Level, fit_tail, level_of, score_of, sum_diminishing, weigh
from ueba.casework import add_act, find_row, make_queue, read_reviewed, stand_staff
from ueba.daily import Wanted, find_silent, keep, replay, score_home
from ueba.errors import UebaError
from ueba.features.days import find_stale, make_days, read_days
from ueba.generator.organisation import date_of
from ueba.generator.write import Plan, write_organisation
from ueba.ingest import ingest_file
from ueba.lines import find_lines
from ueba.profiles import make_profiles
from ueba.publish import make_publication
from ueba.reasons import explain
from ueba.scale import SCORE_DIGITS
from ueba.scoring import fit_model, read_standing
from ueba.settings import Baseline, QueueSettings, ScoreSettings, Settings, day_number, read_settings
from ueba.store import REGISTERS, Home, write_table

pytestmark = pytest.mark.xdist_group("ueba_scoring")
SMALL = Settings(
    baseline=Baseline(window=30, gap=7),
    score=ScoreSettings(
        fit_days=45, least_rows=200, least_periods=10, trees=20, seeds=(11,), neighbours_rows=500
    ),
)
PLAN = Plan(staff=90, days=66, cases=1, first=58, seed=3)
UNTIL = date_of(56)
QUIET = lambda _: None  # noqa: E731
LOCAL = dt.timezone(dt.timedelta(minutes=SMALL.utc_offset_minutes))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = Home(tmp_path_factory.mktemp("ueba"))
    list(write_organisation(made, PLAN))
    return made


@pytest.fixture(scope="module")
def labels(home):
    return json.loads((home.root / "labels.json").read_text())["cases"]


def case_of(labels, scenario, intensity="easy"):
    return next(one for one in labels if (one["scenario"], one["intensity"]) == (scenario, intensity))


KEPT = {}


def once(home, day):
    """The score of a day with the events as they are made; tests that change something score anew."""
    if day not in KEPT:
        KEPT[day] = score(home, day)
    return KEPT[day]


def score(home, day):
    return score_home(home, Wanted(dt.date.fromisoformat(day), UNTIL), SMALL, QUIET)


def explained(scored, staff):
    row = scored.evidence.find(staff, day_number(scored.day))
    return explain(scored.evidence, scored.scores, row, SMALL)


def test_the_bulk_viewer_is_at_the_top_and_told_why(home, labels):
    case = case_of(labels, "L1")
    scored = once(home, case["days"][0])
    keep(home, scored)
    found = explained(scored, case["staff"][0])
    assert found.level in (Level.HIGH, Level.CRITICAL)
    assert found.today[0].digits >= found.today[-1].digits
    assert sum(one.share for one in found.today) == pytest.approx(1.0, abs=0.01)
    assert {"dwell", "region", "unassigned", "volume"} & {one.family for one in found.today}
    queue = make_queue(
        home,
        scored.day,
        1,
        dataclasses.replace(SMALL, queue=dataclasses.replace(SMALL.queue, budget_share=0.05)),
    )
    assert case["staff"][0] in [slot.staff for slot in queue.slots]


def test_taking_the_named_evidence_away_lowers_the_level(home, labels, tmp_path):
    case = case_of(labels, "L1")
    day = dt.date.fromisoformat(case["days"][0])
    before = explained(once(home, case["days"][0]), case["staff"][0])
    named = find_lines(home, case["staff"][0], day, [one.family for one in before.today], SMALL)
    ids = {event_id for family in named.values() for event_id in family}
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.root, copy.root)
    (file,) = copy.event_files([day])
    events = pq.read_table(file)
    kept = events.filter(pc.invert(pc.is_in(events["event_id"], pa.array(sorted(ids)))))
    one = events.filter(pc.equal(events["staff"], case["staff"][0])).slice(0, 1)
    write_table(pa.concat_tables([kept, one]), file)
    after = explained(score(copy, case["days"][0]), case["staff"][0])
    assert list(Level).index(Level(after.level)) < list(Level).index(Level(before.level))


def test_a_dormant_account_is_critical_whatever_the_detectors_say(home, labels):
    case = case_of(labels, "L8", "hard")
    found = explained(score(home, case["days"][0]), case["staff"][0])
    assert found.level == Level.CRITICAL
    assert [one["rule"] for one in found.rules] == ["dormant_active"]


def test_an_old_score_comes_again_bit_for_bit(home, labels):
    day = dt.date.fromisoformat(case_of(labels, "L1")["days"][0])
    keep(home, once(home, day.isoformat()))
    assert replay(home, day, SMALL, QUIET)["same"]
    other = dataclasses.replace(SMALL, score=dataclasses.replace(SMALL.score, seeds=(12,)))
    found = replay(home, day, other, QUIET)
    assert not found["same"]
    assert found["differs"] == ["settings"]


def test_a_model_never_scores_what_it_learnt_from(home):
    with pytest.raises(UebaError, match="fitted before"):
        score(home, date_of(56).isoformat())


def test_a_review_is_noted_with_what_was_seen(home, labels):
    case = case_of(labels, "L1")
    keep(home, once(home, case["days"][0]))
    values = {"by": "ann", "staff": case["staff"][0], "on": dt.date.fromisoformat(case["days"][0])}
    opened = add_act(home, {"kind": "open"} | values)
    assert opened["open"]
    assert opened["acts"][0]["fresh"] > 2
    queue = make_queue(home, values["on"], 1, SMALL)
    assert queue.passed[case["staff"][0]] == "a case is open"
    (home.root / "reviews.jsonl").unlink()


def test_evidence_waits_in_the_kept_scores_until_it_is_reviewed(home, labels):
    case = case_of(labels, "L1")
    day = dt.date.fromisoformat(case["days"][0])
    later = day + dt.timedelta(days=1)
    wide = dataclasses.replace(SMALL, queue=QueueSettings(budget_share=0.1))
    for one in (day, later):
        keep(home, once(home, one.isoformat()))

    def stand():
        people = stand_staff(home, later, read_reviewed(home, SMALL), SMALL)
        return next(one for one in people if one.staff == case["staff"][0])

    waiting = stand()
    assert waiting.on == day_number(day)
    assert waiting.kinds
    slot = next(one for one in make_queue(home, later, 1, wide).slots if one.staff == waiting.staff)
    on, row = find_row(home, later, slot)
    assert (on, row["staff"]) == (day, waiting.staff)
    published = make_publication(home, later, 1, wide, QUIET).cases
    told = next(one for one in published if one["subject"] == waiting.staff)
    assert (told["day"], told["document"]["day"]) == (later.isoformat(), day.isoformat())
    times = [dt.datetime.fromisoformat(one["at"]) for one in told["document"]["events"]]
    assert {one.astimezone(LOCAL).date() for one in times} == {day}
    add_act(home, {"kind": "open", "by": "ann", "staff": waiting.staff, "on": day})
    seen = read_reviewed(home, SMALL)[waiting.staff]
    assert dict(seen.kinds) == dict(waiting.kinds)
    assert stand().fresh < waiting.fresh
    (home.root / "reviews.jsonl").unlink()


def test_who_has_a_new_role_by_the_register_or_a_review_has_no_usual_yet(home, labels, tmp_path):
    """The personnel register's `role_since`, then a change of role that a review found."""
    case = case_of(labels, "L1")
    day, staff = dt.date.fromisoformat(case["days"][0]), case["staff"][0]
    known = once(home, case["days"][0])
    assert known.evidence.periods[known.evidence.find(staff, day_number(day))] > 5
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.root, copy.root)
    entries = copy.read_register("staff").to_pylist()
    at = next(n for n, one in enumerate(entries) if one["staff"] == staff)
    before = make_profiles(copy, day, SMALL)[staff]
    for since, reviewed in ((day, False), (None, True)):
        entries[at]["role_since"] = since
        write_table(pa.Table.from_pylist(entries, schema=REGISTERS["staff"]), copy.register("staff"))
        if reviewed:
            keep(copy, score(copy, case["days"][0]))
            for act in ({"kind": "open", "by": "ann"}, {"kind": "propose", "by": "ann",
                        "disposition": "role_change"}, {"kind": "confirm", "by": "bob"}):  # fmt: skip
                add_act(copy, {"staff": staff, "on": day} | act)
        found = score(copy, case["days"][0])
        assert found.evidence.periods[found.evidence.find(staff, day_number(day))] == 0
        after = make_profiles(copy, day, SMALL)
        assert before["days"] > 5
        assert after[staff]["days"] == 0
        assert not after[staff]["words"]


def test_what_happens_later_changes_no_score(home, labels, tmp_path):
    """The whole path on a store that ends with the day, and on one that goes on."""
    day = case_of(labels, "L1")["days"][0]
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.root, copy.root, ignore=shutil.ignore_patterns("features", "scores"))
    later = [one for one in copy.days() if one.isoformat() > day]
    assert later
    for one in later:
        shutil.rmtree(copy.day_folder(one))
    assert score(copy, day).card["scores"] == once(home, day).card["scores"]


def test_a_silent_system_is_named(home):
    assert find_silent(home, ["portal", "database"], date_of(58))["database"] == 0
    assert find_silent(home, ["portal"], date_of(58))["portal"] > 0


def test_levels_begin_where_they_say():
    assert [level_of(one) for one in (19.9, 20.0, 40.0, 70.0, 90.0)] == list(Level)
    assert score_of(np.array(SCORE_DIGITS)).tolist() == sorted(score_of(np.array(SCORE_DIGITS)).tolist())
    # Elastic's worked example: 53.11 is what 36.16 becomes at factor 2.
    assert weigh(np.array([36.16]), np.array([2.0]))[0] == pytest.approx(53.11, abs=0.01)


def test_fifty_small_things_are_not_one_large():
    small, large = np.full((1, 50), 1.5), np.zeros((1, 50))
    large[0, 0] = 4.0
    assert sum_diminishing(small, ScoreSettings())[0] < sum_diminishing(large, ScoreSettings())[0]


def test_digits_say_how_rare_a_value_is():
    values = np.arange(1, 10_001, dtype=np.float32)
    tail = fit_tail(values, 1.0)
    assert tail.digits(np.float32([9901, 9991]), 8.0) == pytest.approx([2.0, 3.0], abs=0.05)
    assert (np.diff(tail.digits(np.float32([1, 9000, 9500, 10_000, 20_000, 1e9]), 8.0)) >= 0).all()
    assert fit_tail(np.zeros(1000, dtype=np.float32), 1.0).digits(np.float32([0, 0.5, 1]), 8.0)[
        :2
    ].tolist() == [0, 0]


def test_settings_refuse_an_unknown_key():
    with pytest.raises(UebaError, match=r"score\.tree"):
        read_settings({"score": {"tree": 3}})
    with pytest.raises(UebaError, match=r"baseline\.window"):
        read_settings({"baseline": {"window": "long"}})
    with pytest.raises(UebaError, match="at least 1 day"):
        read_settings({"baseline": {"gap": 0}})
    assert read_settings({"score": {"seeds": [5]}}).score.seeds == (5,)


def test_a_notice_puts_a_person_on_the_watch_list_from_its_day_on(home, labels):
    scored = once(home, labels[0]["days"][0])
    register = home.read_register("staff")
    entries = register.to_pylist()
    at = next(
        n
        for n, one in enumerate(entries)
        if one["notice_on"] is None and one["staff"] in scored.evidence.staff
    )
    rows = scored.evidence.rows_between(0, day_number(scored.day))
    mine = scored.evidence.person[rows] == scored.evidence.staff.index(entries[at]["staff"])
    since = scored.evidence.day[rows] >= day_number(scored.day) - 3

    def standing():
        return read_standing(scored.evidence, rows, pa.Table.from_pylist(entries, schema=register.schema))

    before, usual = standing()
    entries[at] = entries[at] | {"notice_on": scored.day - dt.timedelta(days=3)}
    after, factor = standing()
    assert (mine & since).any()
    assert not (before.watched & mine).any()
    assert (after.watched == (before.watched | (mine & since))).all()
    assert (factor == np.where(mine & since, 2.0 * usual, usual)).all()


def test_events_with_nothing_but_what_is_needed_are_days_like_others(tmp_path):
    file, made = tmp_path / "in.jsonl", Home(tmp_path / "home")
    line = {"at": "2026-03-02T09:30:00+08:00", "staff": "e1", "action": "view"}
    file.write_text("".join(json.dumps(line | {"event_id": f"m{n}"}) + "\n" for n in range(3)))
    now = dt.datetime(2026, 3, 3, tzinfo=dt.UTC)
    assert ingest_file(made, file, "event", now, SMALL).taken == 3
    day = dt.date(2026, 3, 2)
    make_days(made, [day], SMALL)
    (row,) = read_days(made, [day]).staff_days.to_pylist()
    assert (row["events"], row["looks"], row["overlap"], row["dwells"]) == (3, 0, 0, 0)
    assert (row["role"], row["branch"]) == ("unknown", "unknown")


def test_a_late_event_makes_its_day_anew_and_a_doubled_one_changes_nothing(tmp_path):
    file, made = tmp_path / "in.jsonl", Home(tmp_path / "home")
    day, now = dt.date(2026, 3, 2), dt.datetime(2026, 3, 9, tzinfo=dt.UTC)

    def bring(*lines):
        file.write_text("".join(json.dumps(one) + "\n" for one in lines))
        taken = ingest_file(made, file, "event", now, SMALL)
        stale = find_stale(made, made.days(), SMALL)
        make_days(made, made.days(), SMALL)
        return taken.seen_before, list(stale), read_days(made, [day]).staff_days["events"].to_pylist()

    line = {"at": "2026-03-02T09:30:00+08:00", "staff": "e1", "action": "view"}
    other = line | {"event_id": "m2", "at": "2026-03-03T09:30:00+08:00"}
    assert bring(line | {"event_id": "m1"}, other)[1:] == ([day, dt.date(2026, 3, 3)], [1])
    assert bring(line | {"event_id": "m1"}, line | {"event_id": "m1"}) == (2, [], [1])
    assert bring(line | {"event_id": "late", "at": "2026-03-02T07:30:00Z"}) == (0, [day], [2])


def rewrite(home, copy, change):
    """Return a copy of the home with each day's events and the registers changed."""
    shutil.copytree(home.root, copy.root, ignore=shutil.ignore_patterns("features", "scores", "*.jsonl"))
    for day in copy.days():
        (file,) = copy.event_files([day])
        for number, part in enumerate(change(day, pq.read_table(file))):
            write_table(part, file.with_name(f"part-{number}.parquet"))
        file.unlink()
    return copy


def test_neither_the_order_of_events_nor_the_names_of_staff_change_a_score(home, labels, tmp_path):
    day = case_of(labels, "L1")["days"][0]

    def renamed(table):
        names = pa.array([f"q{99_999 - int(one[1:])}" for one in table["staff"].to_pylist()])
        return table.set_column(table.schema.get_field_index("staff"), "staff", names)

    def disturb(_, table):
        mixed = renamed(table).take(pa.array(np.random.default_rng(5).permutation(len(table))))
        return mixed.slice(0, 100), mixed.slice(100)

    copy = rewrite(home, Home(tmp_path / "copy"), disturb)
    for name in ("staff", "relation"):
        write_table(renamed(home.read_register(name)), copy.register(name))
    before, after = once(home, day), score(copy, day)
    found = {
        after.evidence.staff[int(after.evidence.person[row])]: place
        for place, row in enumerate(after.scores.rows)
        if after.evidence.day[row] == day_number(after.day)
    }
    assert len(found) == len(before.rows) > 50
    for place in before.rows:
        staff = before.evidence.staff[int(before.evidence.person[before.scores.rows[place]])]
        other = found[f"q{99_999 - int(staff[1:])}"]
        np.testing.assert_array_equal(before.scores.digits[place], after.scores.digits[other])
        assert before.scores.score[place] == after.scores.score[other]


def test_a_clock_that_is_minutes_wrong_in_a_branch_hides_nobody(home, labels, tmp_path):
    case = case_of(labels, "L1")
    wrong = dt.date.fromisoformat(case["days"][0])
    before = explained(once(home, case["days"][0]), case["staff"][0])

    def shift(day, table):
        if day != wrong:
            return (table,)
        branch = np.array(table["branch"].to_pylist())
        mine = branch == branch[table["staff"].to_pylist().index(case["staff"][0])]
        moved = table["at"].cast(pa.int64()).to_numpy() + np.where(mine, -20 * 60_000_000, 0)
        return (table.set_column(1, "at", pa.array(moved).cast(table.schema.field("at").type)),)

    found = explained(score(rewrite(home, Home(tmp_path / "copy"), shift), case["days"][0]), case["staff"][0])
    assert found.level == before.level
    assert {one.family for one in found.today} >= {one.family for one in before.today[:2]}


def test_a_model_does_not_learn_from_days_that_a_review_distrusts(home, labels):
    case = case_of(labels, "L1")
    on = dt.date.fromisoformat(case["days"][0])
    keep(home, once(home, case["days"][0]))
    add_act(home, {"kind": "open", "by": "ann", "staff": case["staff"][0], "on": on})
    later = min(one for one in home.days() if one > on)
    scored = score_home(home, Wanted(later, on), SMALL, QUIET)
    (home.root / "reviews.jsonl").unlink()
    distrusted = range(day_number(on) - SMALL.baseline.gap, day_number(on) + 1)
    learnt = [one for one in distrusted if scored.evidence.find(case["staff"][0], one) is not None]
    assert learnt
    whole = fit_model(scored.evidence, day_number(on), SMALL)
    assert whole.rows - scored.model.rows == len(learnt)
