"""One key a customer out of one secret; one destroyed, all others as before."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.protection.errors import SubjectShredded
from compliance.protection.key_tree import PATH_DIGITS, plant

TREE = plant(bytes(range(32)))
SUBJECTS = st.from_regex(r"C[0-9a-f]{24}", fullmatch=True)


@settings(max_examples=40)
@given(st.lists(SUBJECTS, min_size=2, max_size=6, unique=True), st.data())
def test_shredding_one_leaves_every_other_key_as_it_was(subjects: list[str], data: st.DataObject) -> None:
    before = {subject: TREE.derive(subject, 16) for subject in subjects}
    gone = data.draw(st.sets(st.sampled_from(subjects), min_size=1))
    tree = TREE
    for subject in gone:
        tree = tree.puncture(subject)
    for subject in subjects:
        if subject in gone:
            assert not tree.holds(subject)
            with pytest.raises(SubjectShredded):
                tree.derive(subject, 16)
        else:
            assert tree.derive(subject, 16) == before[subject]


def test_what_is_left_gives_no_node_above_the_dead_one() -> None:
    tree = TREE.puncture("C" + "0" * 24)
    assert "" not in tree.nodes
    assert len(tree.nodes) == PATH_DIGITS * 15
    assert sorted({len(path) for path in tree.nodes}) == list(range(1, PATH_DIGITS + 1))
    assert tree.puncture("C" + "0" * 24) is tree


def test_no_two_customers_share_a_key_and_no_other_top_gives_it() -> None:
    keys = {TREE.derive(f"C{number:024x}", 16) for number in range(300)}
    assert len(keys) == 300
    assert plant(bytes(32)).derive("C" + "0" * 24, 16) not in keys


def test_a_shredded_tree_and_its_error_show_neither_key_nor_customer() -> None:
    subject = "C" + "a" * 24
    tree = TREE.puncture(subject)
    assert "nodes" not in repr(tree)
    with pytest.raises(SubjectShredded) as refused:
        tree.derive(subject, 16)
    assert subject not in str(refused.value)
