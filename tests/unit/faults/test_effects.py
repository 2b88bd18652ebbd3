"""What overlapping faults add up to, what a target means, what may never be taken away."""

from dataclasses import replace

import pytest

from replication.model import CopyId, Grant, Mode, Site
from runbooks.faults.catalogue import CUT, HOLE, INJECTORS, Victims, list_injectors
from runbooks.faults.ground import Ground, Missed, add_links, resolve_spot
from runbooks.faults.model import FaultPlan, Spot
from runbooks.faults.schedule import targets_of
from runbooks.stand.links import ALL_LINKS, LinkState, healed_table

HERE, THERE = CopyId("a", Site.IDC, 0, "11"), CopyId("a", Site.CLOUD, 0, "22")
GRANT = Grant("a", 4, HERE, frozenset({THERE}), Mode.SYNC)


def test_the_worst_state_of_a_link_counts_and_the_rest_is_ok() -> None:
    total = add_links(
        [
            {"idc>cloud": LinkState(delay_ms=50)},
            {"idc>cloud": LinkState(delay_ms=20), "cloud>idc": HOLE},
            {"cloud>idc": CUT},
        ]
    )
    assert total == healed_table() | {"idc>cloud": LinkState(delay_ms=50), "cloud>idc": CUT}


def test_a_target_is_who_it_is_when_the_fault_begins() -> None:
    grants = {"a": GRANT}
    assert resolve_spot("primary:a", grants) == Spot("idc", "a", "a-idc-0")
    assert resolve_spot("copy:a", grants) == Spot("cloud", "a", "a-cloud-0")
    moved = {"a": replace(GRANT, primary=THERE, sync_set=frozenset({HERE}))}
    assert resolve_spot("primary:a", moved) == Spot("cloud", "a", "a-cloud-0")
    assert resolve_spot("idc", {}) == Spot("idc")
    with pytest.raises(Missed):
        resolve_spot("primary:b", grants)


@pytest.mark.parametrize(
    ("grant", "place"),
    [
        (GRANT, "a-idc-0"),
        (replace(GRANT, mode=Mode.TAKING, candidate=THERE), "a-cloud-0"),
        (replace(GRANT, mode=Mode.MOVING, candidate=THERE), "a-cloud-0"),
    ],
)
def test_a_copy_that_may_be_the_last_with_everything_is_never_taken_away(grant: Grant, place: str) -> None:
    with pytest.raises(Missed):
        Ground.check_losable(grant, place)


def test_a_copy_beside_a_settled_primary_may_be_lost() -> None:
    Ground.check_losable(GRANT, "a-cloud-0")


@pytest.mark.parametrize("injector", INJECTORS.values(), ids=list(INJECTORS))
@pytest.mark.parametrize("pick", [0.0, 0.5, 0.999])
def test_every_injector_breaks_something_that_exists(injector: object, pick: float) -> None:
    one = INJECTORS[injector.name]  # type: ignore[attr-defined]
    for target in targets_of(one, ("a",)):
        plan = FaultPlan(1, one.name, target, 0.0, 1.0, pick)
        effect = one.effect(plan, resolve_spot(target, {"a": GRANT}))
        tables = [effect.links, *(table for _, table in effect.rhythm)]
        assert all(set(table) <= set(ALL_LINKS) for table in tables)
        assert (
            effect.down or effect.stopped or effect.victims or effect.ask or effect.lose_copy or any(tables)
        )


def test_a_frozen_site_keeps_its_border_which_is_the_network() -> None:
    effect = INJECTORS["site-freeze"].effect(FaultPlan(1, "site-freeze", "idc", 0, 1, 0.5), Spot("idc"))
    assert ("idc", "border") not in effect.stopped
    assert effect.victims is Victims.TREE


def test_the_catalogue_says_of_each_what_it_does_holds_and_heals() -> None:
    for plain in list_injectors():
        assert all(plain[name] for name in ("name", "target", "does", "must_hold", "heals"))
