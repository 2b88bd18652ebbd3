"""Components over shared values: what hangs together, how densely, and who is left alone."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.decisions.gangs import find_components

edges = st.lists(
    st.tuples(st.sampled_from([f"C{n}" for n in range(12)]), st.integers(0, 9).map(lambda n: bytes([n]))),
    max_size=40,
)


def plain_components(pairs: set[tuple[str, str]]) -> set[frozenset[str]]:
    """The same by hand: merge sets that meet until none do."""
    groups = [set(pair) for pair in pairs]
    merged = True
    while merged:
        merged = False
        for one, other in combinations(groups, 2):
            if one & other:
                one |= other
                groups.remove(other)
                merged = True
                break
    return {frozenset(group) for group in groups}


@given(edges, st.integers(2, 12))
def test_components_are_those_of_merging_by_hand(found: list[tuple[str, bytes]], most: int) -> None:
    sharers = {value: {who for who, other in found if other == value} for _, value in found}
    pairs = {
        pair for group in sharers.values() if len(group) <= most for pair in combinations(sorted(group), 2)
    }
    components = find_components(found, most)
    assert {frozenset(one.customers) for one in components} == plain_components(pairs)
    for one in components:
        inside = [pair for pair in combinations(one.customers, 2) if pair in pairs]
        possible = len(one.customers) * (len(one.customers) - 1) / 2
        assert one.density == pytest.approx(len(inside) / possible, abs=1e-8)


@given(edges, st.randoms())
def test_the_order_of_the_edges_changes_nothing(found: list[tuple[str, bytes]], chance: object) -> None:
    shuffled = list(found)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert find_components(found, 50) == find_components(shuffled, 50)


def test_a_value_that_everybody_shares_joins_nobody() -> None:
    station = [(f"C{n}", b"wifi") for n in range(4)]
    assert find_components(station, 3) == ()
    (one,) = find_components(station, 4)
    assert (len(one.customers), one.density) == (4, 1.0)


def test_a_chain_is_sparse_and_a_shared_device_is_dense() -> None:
    chain = [(f"C{n + step}", bytes([n])) for n in range(4) for step in (0, 1)]
    (one,) = find_components(chain, 50)
    assert (len(one.customers), one.density) == (5, 0.4)
