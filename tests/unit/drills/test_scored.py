"""A site's scoring must have each act of a drill once; what else was done is allowed, but not twice."""

import pytest

from runbooks.drills.scored import Acted, Counted, find_doubled, find_lost

LOOKS = frozenset({"look-1", "look-2", "look-3"})
SEARCH = frozenset({"page-1"})
LOGIN = frozenset({"login-1"})
ACTED = {"an": Acted(LOOKS, SEARCH), "bo": Acted(frozenset())}
MINE = LOOKS | SEARCH
WHOLE = Counted(MINE, events=4, looks=3)


@pytest.mark.parametrize(
    ("counted", "lost", "doubled"),
    [
        pytest.param(WHOLE, 0, False, id="exactly-the-drills"),
        pytest.param(Counted(MINE | LOGIN, events=5, looks=3), 0, False, id="a-login-beside-it"),
        pytest.param(Counted(MINE - {"look-2"}, events=3, looks=2), 1, False, id="a-look-lost"),
        pytest.param(
            Counted(MINE - SEARCH | LOGIN, events=4, looks=3), 1, False, id="a-search-lost-and-a-login"
        ),
        pytest.param(Counted(MINE, events=4, looks=2), 1, False, id="known-but-not-counted-as-a-look"),
        pytest.param(Counted(MINE, events=3, looks=3), 1, False, id="known-but-not-counted"),
        pytest.param(Counted(MINE, events=5, looks=4), 0, True, id="a-look-twice"),
        pytest.param(Counted(MINE | LOGIN, events=6, looks=3), 0, True, id="a-login-twice"),
        pytest.param(Counted(MINE - {"look-2"}, events=4, looks=3), 1, True, id="one-lost-and-one-twice"),
        pytest.param(Counted(), 4, False, id="nothing-scored"),
    ],
)
def test_each_act_counts_once(counted: Counted, lost: int, doubled: bool) -> None:
    assert len(find_lost(ACTED, {"an": counted})) == lost
    assert bool(find_doubled(ACTED, {"an": counted})) is doubled


def test_a_site_that_tells_nothing_has_lost_everything_of_each() -> None:
    assert set(find_lost(ACTED, {})) == MINE
