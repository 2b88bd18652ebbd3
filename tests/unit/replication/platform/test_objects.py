"""What a cluster shall hold, for looks that hypothesis makes up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.model import CopyId, Grant, GrantSeen, Mode, Site
from replication.platform.objects import (
    EPOCH,
    ROLE,
    Look,
    make_cell,
    make_site,
    make_slice,
    plan_labels,
    plan_replicas,
)
from replication.platform.settings import PlatformSettings
from replication.platform.writes import (
    FIGURES_EVERY,
    Verb,
    plan_autoscaler,
    plan_object,
    plan_pod,
    plan_slice,
)
from replication.settings import CellSettings, PlaceSettings, SiteSettings

PLACES = ("a-idc-0", "a-cloud-0", "a-idc-1")
AT = datetime(2026, 11, 22, tzinfo=UTC)
PLATFORM = PlatformSettings(
    namespace="biyi",
    addresses={place: f"10.0.0.{number}" for number, place in enumerate(PLACES)},
    agents={},
    api_replicas_min=2,
    api_replicas_burst=4,
)


def place(name: str) -> PlaceSettings:
    cell, site, ordinal = name.split("-")
    return PlaceSettings(name, cell, Site(site), int(ordinal), name, 5432)


SETTINGS = SiteSettings(
    site=Site.IDC,
    home_dir=Path("/home"),
    etcd_urls=(),
    cells=(CellSettings("a", Site.IDC), CellSettings("b", Site.CLOUD)),
    places=tuple(place(name) for name in PLACES),
    agent_urls={},
    agent_port=1,
    api_port=2,
    valkey_port=3,
    pg_bin=Path("/bin"),
    passfile=Path("/pass"),
    key_file=Path("/key"),
)


def copy_at(name: str) -> CopyId:
    return CopyId.parse(f"{name}-0000aaaa")


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    mode = draw(st.sampled_from(Mode))
    primary, *others = draw(st.permutations(PLACES))
    count = draw(st.integers(1 if mode is Mode.SYNC else 0, 2)) if mode is not Mode.ALONE else 0
    return Grant(
        cell="a",
        epoch=draw(st.integers(1, 9)),
        primary=copy_at(primary),
        sync_set=frozenset(copy_at(name) for name in others[:count]),
        mode=mode,
        candidate=copy_at(others[0]) if mode in (Mode.TAKING, Mode.MOVING) else None,
    )


def look(*grants_seen: Grant, silent_ms: int = 0, beating: bool = True) -> Look:
    return Look(
        grants={grant.cell: GrantSeen(grant, 1) for grant in grants_seen},
        silent_for_ms={Site.IDC: 0, Site.CLOUD: silent_ms},
        beating=frozenset(Site) if beating else frozenset({Site.IDC}),
    )


@given(grants())
def test_nobody_is_sent_to_a_cell_that_nobody_may_write(grant: Grant) -> None:
    made: Any = make_slice(grant, PLATFORM, 5432)
    (endpoint,) = made["endpoints"]
    assert endpoint["conditions"]["ready"] is (grant.mode in (Mode.SYNC, Mode.ALONE))
    assert endpoint["addresses"] == [PLATFORM.addresses[grant.primary.place]]


@given(grants())
def test_at_most_one_pod_is_called_primary_and_only_of_a_settled_grant(grant: Grant) -> None:
    labels = {name: plan_labels(place(name), grant) for name in PLACES}
    primaries = [name for name, found in labels.items() if found[ROLE] == "primary"]
    assert primaries == ([grant.primary.place] if grant.mode in (Mode.SYNC, Mode.ALONE) else [])
    assert {found[EPOCH] for found in labels.values()} == {str(grant.epoch)}


@given(grants(), grants())
def test_nothing_is_written_over_a_later_epoch(held: Grant, wanted: Grant) -> None:
    slices = [make_slice(grant, PLATFORM, 5432) for grant in (held, wanted)]
    current: dict[str, Any] = {**slices[0], "metadata": {**_meta(slices[0]), "resourceVersion": "7"}}
    pod = {"metadata": {"labels": plan_labels(place("a-idc-0"), held), "resourceVersion": "7"}}
    cells = [make_cell("a", Site.IDC, look(grant)) for grant in (held, wanted)]
    cell = _stored(cells[0])
    writes = (
        plan_slice(current, slices[1]),
        plan_pod(pod, plan_labels(place("a-idc-0"), wanted)),
        plan_object(cell, cells[1], AT),
    )
    for write in writes:
        assert (write.verb is Verb.REFUSE) is (held.epoch > wanted.epoch)
        if write.body is not None:
            assert write.body["metadata"]["resourceVersion"] == "7"  # type: ignore[index]


@given(grants())
def test_what_is_so_already_is_not_written_again(grant: Grant) -> None:
    wanted = make_slice(grant, PLATFORM, 5432)
    current = {**wanted, "metadata": {**_meta(wanted), "resourceVersion": "7", "uid": "u"}, "kind": "x"}
    current["kind"] = wanted["kind"]
    assert plan_slice(current, wanted).verb is Verb.KEEP
    cell = make_cell("a", Site.IDC, look(grant))
    assert plan_object(_stored(cell), cell, AT + FIGURES_EVERY / 2).verb is Verb.KEEP
    assert plan_object(_stored(cell), cell, AT + FIGURES_EVERY).verb is Verb.STATUS


def _meta(document: Any) -> dict[str, Any]:
    return dict(document["metadata"])


def _stored(wanted: Any) -> dict[str, Any]:
    """Return an object as the API server holds it after its status was written at AT."""
    bare = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": "7"}}
    del bare["status"]
    write = plan_object(bare | {"status": {"seenAt": (AT - timedelta(days=1)).isoformat()}}, wanted, AT)
    assert write.body is not None
    return bare | {"status": write.body["status"]}


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    grant = Grant("a", 3, copy_at("a-idc-0"), frozenset({copy_at("a-cloud-0")}), Mode.SYNC)
    stored = _stored(make_cell("a", Site.IDC, look(grant)))
    alone = replace(grant, mode=Mode.ALONE, sync_set=frozenset())
    later = AT + timedelta(minutes=1)
    body = plan_object(stored, make_cell("a", Site.IDC, look(alone)), later).body
    assert body is not None
    times = {c["type"]: c["lastTransitionTime"] for c in body["status"]["conditions"]}  # type: ignore[index]
    assert times == {"Writable": AT.isoformat(), "Protected": later.isoformat(), "AtHome": AT.isoformat()}


def test_a_cell_without_a_grant_has_no_figures_and_is_not_writable() -> None:
    status: Any = make_cell("a", Site.IDC, look())["status"]
    assert [c["reason"] for c in status["conditions"]] == ["NoGrant"]
    assert status.keys() == {"conditions"}


B_HERE = Grant("b", 4, CopyId.parse("b-idc-0-0a"), frozenset({CopyId.parse("b-cloud-0-0b")}), Mode.SYNC)
B_HOME = Grant("b", 5, CopyId.parse("b-cloud-0-0b"), frozenset({CopyId.parse("b-idc-0-0a")}), Mode.SYNC)


@pytest.mark.parametrize(
    ("seen", "now", "wanted"),
    [
        (look(B_HOME), 2, 2),
        (look(B_HOME, silent_ms=1000), 2, 2),  # suspect is not lost
        (look(B_HOME, silent_ms=2500), 2, 4),
        (look(B_HOME, silent_ms=2500), 9, 9),  # somebody raised it further
        (look(B_HERE), 4, 4),  # it beats, its cell is still here
        (look(B_HERE, beating=False), 4, 4),
        (look(B_HOME, silent_ms=1000), 4, 4),
        (look(), 4, 4),  # no grant is known
        (look(B_HOME), 4, 2),
        (look(B_HOME), 1, 2),
    ],
)
def test_api_pods_follow_the_other_site(seen: Look, now: int, wanted: int) -> None:
    assert plan_replicas(SETTINGS, PLATFORM, seen, now) == wanted


def test_a_bound_never_exceeds_its_upper_one() -> None:
    current = {"metadata": {"resourceVersion": "7"}, "spec": {"minReplicas": 2, "maxReplicas": 3}}
    body: Any = plan_autoscaler(current, 4).body
    assert body["spec"] == {"minReplicas": 3}
    assert body["metadata"]["resourceVersion"] == "7"


def test_a_site_says_whether_it_bears_both() -> None:
    found: Any = make_site(Site.IDC, SETTINGS, PLATFORM, look(B_HERE, silent_ms=9000), 4)["status"]
    assert {c["type"]: c["reason"] for c in found["conditions"]} == {
        "Alive": "Beats",
        "Burst": "OtherSiteLost",
    }
    lost: Any = make_site(Site.CLOUD, SETTINGS, PLATFORM, look(B_HERE, silent_ms=9000), 4)["status"]
    assert [(c["type"], c["status"]) for c in lost["conditions"]] == [("Alive", "False")]
    assert (found["primaries"], lost["copies"]) == (1, 1)
