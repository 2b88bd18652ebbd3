"""The queue keeps its budget, leaves the reviewed in peace, and ranks by what is new."""

from hypothesis import given
from hypothesis import strategies as st

from ueba.queue import Kind, Reviewed, Scored, Standing, compute_standing, count_slots, decide_queue
from ueba.settings import QueueSettings

SETTINGS = QueueSettings(budget_share=0.1)
digits = st.floats(0, 8)
reviews = st.builds(
    Reviewed,
    st.integers(0, 100),
    digits,
    digits,
    st.lists(st.integers(60, 100), max_size=5).map(tuple),
    st.booleans(),
)
people = st.dictionaries(st.integers(0, 60).map(str), st.tuples(digits, digits), min_size=1, max_size=60)


def queue(crowd, reviewed, draw=None):
    standing = [Standing(name, *value) for name, value in crowd.items()]
    return decide_queue(
        100, standing, reviewed, draw or {name: hash(name) % 997 / 997 for name in crowd}, SETTINGS
    )


@given(people, st.dictionaries(st.integers(0, 60).map(str), reviews))
def test_budget_rest_and_cap_hold_whatever_happened(crowd, reviewed):
    found = queue(crowd, reviewed)
    fresh, slow, random = count_slots(len(crowd), SETTINGS)
    names = [slot.staff for slot in found.slots]
    assert len(names) == len(set(names)) <= fresh + slow + random
    assert sum(slot.kind is Kind.RANDOM for slot in found.slots) <= random
    for name in names:
        last = reviewed.get(name)
        if last is not None:
            assert not last.open
            assert sum(day > 70 for day in last.days) < SETTINGS.cap_in_30_days
            grew = max(crowd[name][0] - last.fresh, crowd[name][1] - last.slow) > SETTINGS.regrow_digits
            assert grew or 100 - last.day >= SETTINGS.pause_days


@given(people)
def test_the_strongest_fresh_evidence_is_first(crowd):
    found = queue(crowd, {})
    best = max(value[0] for value in crowd.values())
    if best > 0:
        assert crowd[found.slots[0].staff][0] == best


def test_what_a_review_saw_is_not_new_again_until_it_is_forgotten():
    crowd = {"a": (5.0, 0.0), "b": (3.0, 0.0)}
    names = [queue(crowd, {"a": Reviewed(day, 5.0, 0.0, (day,))}).slots[0].staff for day in (99, 84, 20)]
    assert names == ["b", "b", "a"]


def test_equal_evidence_is_decided_by_the_draw_not_by_the_name():
    crowd = {"a": (3.0, 0.0), "z": (3.0, 0.0)}
    assert queue(crowd, {}, {"a": 0.9, "z": 0.1}).slots[0].staff == "z"
    assert queue(crowd, {}, {"a": 0.1, "z": 0.9}).slots[0].staff == "a"


def test_nobody_without_evidence_is_looked_at_but_the_drawn():
    crowd = {str(n): (0.0, 0.0) for n in range(50)}
    assert {slot.kind for slot in queue(crowd, {}).slots} == {Kind.RANDOM}


def stand(staff, lately, last=None, day=100, **more):
    return compute_standing(staff, day, [Scored(*one) for one in lately], last, SETTINGS, **more)


def test_evidence_that_found_no_slot_waits_for_one_and_says_its_day():
    """Ten are strange on one day and there is one slot a day: on later days the next best get it."""
    reviewed, seen = {}, {}
    for day in (100, 101, 102):
        people = [stand(str(n), [(100, 3.0 + n / 10, 0.0)], reviewed.get(str(n)), day) for n in range(10)]
        slots = decide_queue(day, people, reviewed, dict.fromkeys(map(str, range(10)), 0.5), SETTINGS).slots
        for slot in slots:
            seen[slot.staff] = slot.on
            reviewed[slot.staff] = Reviewed(day, 3.0, 0.0, (day,))
    assert seen == {"9": None, "8": 100, "7": 100}
    late = stand("a", [(100, 3.0, 0.0)], day=100 + SETTINGS.carry_days + 1)
    assert (late.fresh, late.on) == (0.0, None), "but not for ever"


@given(st.lists(st.tuples(st.integers(93, 100), digits, digits), unique_by=lambda one: one[0]), reviews)
def test_what_a_review_has_seen_waits_no_longer(lately, last):
    found = stand("a", lately, last)
    unseen = [one[1] for one in lately if one[0] > last.day]
    assert 0 <= found.fresh <= max(unseen, default=0)
    assert found.fresh >= max((one[1] for one in lately if one[0] == 100 > last.day), default=0)


def test_a_new_kind_of_behaviour_ends_a_rest_and_its_cap():
    rested = Reviewed(99, 5.0, 0.0, (97, 98, 99), kinds={"volume": 5.0})
    for kinds, looked_at in (
        ({"volume": 5.0}, False),
        ({"volume": 5.0, "relation": 2.9}, False),
        ({"volume": 5.0, "relation": 3.1}, True),
        ({"volume": 6.1}, True),
    ):
        crowd = [stand("a", [(100, 3.2, 0.0, kinds)], rested), stand("b", [(100, 1.0, 0.0)])]
        slots = decide_queue(100, crowd, {"a": rested}, {"a": 0.5, "b": 0.5}, SETTINGS).slots
        assert (slots[0].staff == "a") is looked_at, kinds


@given(st.integers(0, 30), st.none() | st.integers(0, 20), st.booleans())
def test_a_leaver_is_looked_at_once_the_list_is_a_week_old(age, reviewed_before, open_case):
    leaver = Standing("leaver", 0.0, 0.0, watched_since=100 - age)
    crowd = [*(Standing(str(n), 5.0, 5.0) for n in range(60)), leaver]
    reviewed = {}
    if reviewed_before is not None:
        reviewed["leaver"] = Reviewed(100 - reviewed_before, 9.0, 9.0, (), open=open_case)
    draw = {one.staff: 0.5 for one in crowd} | {"leaver": 1.0}
    slots = decide_queue(100, crowd, reviewed, draw, SETTINGS).slots
    found = [slot.kind for slot in slots if slot.staff == "leaver"]
    due = age >= SETTINGS.watch_days
    if due and reviewed_before is not None:
        due = not open_case and reviewed_before > age - SETTINGS.watch_days
    assert found == ([Kind.WATCHED] if due else [])


def test_a_watch_list_takes_no_more_than_its_slots():
    crowd = [Standing(str(n), 5.0, 5.0, watched_since=50) for n in range(60)]
    kinds = [slot.kind for slot in queue_of(crowd).slots]
    assert kinds.count(Kind.WATCHED) <= SETTINGS.watch_slots < kinds.count(Kind.FRESH)


def queue_of(crowd):
    return decide_queue(100, crowd, {}, {one.staff: 0.5 for one in crowd}, SETTINGS)
