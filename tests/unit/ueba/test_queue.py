"""The queue keeps its budget, leaves the reviewed in peace, and ranks by what is new."""

from hypothesis import given
from hypothesis import strategies as st

from ueba.queue import Kind, Reviewed, Standing, count_slots, decide_queue
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
