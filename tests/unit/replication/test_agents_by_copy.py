"""Where each copy of a site has an agent of its own: what they write, and what of it says that whom lives."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from replication.beats import plan_beats
from replication.etcd import KeyValue, Snapshot
from replication.exposure import Exposure, SiteExposures
from replication.exposure_keeper import own_keys
from replication.failover.sight import SiteSight
from replication.grants import COPIES, EXPOSED, EXPOSURES, GRANTS, HOLD, SITES, World, parse_world
from replication.model import Beat, CopyId, Grant, Mode, Site
from replication.settings import CellSettings, PlaceSettings, SettingsError, SiteSettings
from replication.watchdog import heartbeat_path

PRIMARY = CopyId.parse("a-idc-0-aaaa")
NAMES = ("a-idc-0", "a-idc-1", "b-idc-0", "a-cloud-0", "b-cloud-0")
URLS = {name: f"https://{name}" for name in NAMES if "idc" in name}


def settings_for(site: Site, *own: str, urls: dict[str, str] = URLS) -> SiteSettings:
    """Settings of the agent at `site` that has `own`; idc's copies have agents of their own."""
    places = tuple(
        PlaceSettings(
            name, name[0], Site(name.split("-")[1]), int(name[-1]), name, 1,
            data_dir=Path(name) if name in own else None, agent_url=urls.get(name),
        )
        for name in NAMES
    )  # fmt: skip
    return SiteSettings(
        site=site, home_dir=Path("home"), etcd_urls=(),
        cells=(CellSettings("a", Site.IDC), CellSettings("b", Site.CLOUD)), places=places,
        agent_urls={Site.IDC: "https://idc", Site.CLOUD: "https://cloud"}, agent_port=0, api_port=0,
        valkey_port=0, pg_bin=Path(), passfile=Path(), key_file=Path(),
    )  # fmt: skip


MINE = settings_for(Site.IDC, "a-idc-0")
CLOUD = settings_for(Site.CLOUD, "a-cloud-0", "b-cloud-0")


def said(count: int = 1, *, site: Site = Site.IDC, **facts: object) -> Beat:
    return Beat(site, "me", count, **facts)  # type: ignore[arg-type]


def by_copy(place: str, count: int, **facts: object) -> Beat:
    holds = frozenset({place})
    usual: dict[str, object] = {"holds": holds, "places": holds}
    return Beat(Site(place.split("-")[1]), f"of-{place}", count, **(usual | facts))  # type: ignore[arg-type]


class Looker:
    """A sight over worlds given by hand, a look each 100 ms."""

    def __init__(self, settings: SiteSettings) -> None:
        self._now_ms = 0
        self._world = World({}, {}, hold=False)
        self.sight = SiteSight(settings, self._read, lambda: self._now_ms)

    async def _read(self) -> World:
        return self._world

    async def look(self, *copies: Beat, beats: dict[Site, Beat] | None = None, times: int = 1) -> SiteSight:
        told = {place: beat for beat in copies for place in beat.places or ()}
        for _ in range(times):
            self._now_ms += 100
            self._world = World({}, beats or {}, hold=False, copies=told)
            await self.sight.look()
        return self.sight

    def wait(self, for_ms: int) -> None:
        self._now_ms += for_ms


def test_an_older_reader_finds_nothing_but_sites_where_it_looks_for_sites():
    """It ends at any other name below that prefix: with it the whole failover of its site."""
    keys = [COPIES + "a-idc-0", EXPOSED + "a-idc-0"]
    assert not any(key.startswith((GRANTS, SITES, EXPOSURES, HOLD)) for key in keys)


def test_a_beat_of_one_agent_a_site_is_stored_as_it_always_was():
    beat = said(7, down=frozenset({str(PRIMARY)}), holds=frozenset({"a-idc-0"}))
    assert json.loads(beat.to_json()).keys() == {"site", "agent", "count", "down", "full", "holds"}
    assert Beat.from_json(beat.to_json()) == beat


def test_a_beat_by_copy_reads_back_and_an_older_reader_passes_its_places_over():
    beat = by_copy("a-idc-0", 3)
    world = parse_world(Snapshot(9, {COPIES + "a-idc-0": KeyValue(beat.to_json(), 9)}))
    assert world.copies == {"a-idc-0": beat}
    plain = json.loads(beat.to_json())
    assert {plain["site"], plain["agent"]} == {"idc", "of-a-idc-0"}


async def test_one_agent_of_a_site_writes_the_sites_key_and_no_other():
    sight = await Looker(CLOUD).look()
    beat = said(site=Site.CLOUD, holds=frozenset({"a-cloud-0"}))
    assert plan_beats(CLOUD, sight, beat) == {SITES + "cloud": beat}


async def test_an_agent_of_one_copy_says_in_its_key_only_what_is_its_own():
    sight = await Looker(MINE).look()
    beats = plan_beats(MINE, sight, said(down=frozenset({str(PRIMARY)}), holds=frozenset({"a-idc-0"})))
    assert next(iter(beats)) == COPIES + "a-idc-0"
    assert beats[COPIES + "a-idc-0"].places == frozenset({"a-idc-0"})
    assert beats[COPIES + "a-idc-0"].down == {str(PRIMARY)}


async def test_a_sites_key_is_left_to_the_agent_that_wrote_it_lately():
    looker = Looker(MINE)
    sight = await looker.look(beats={Site.IDC: by_copy("b-idc-0", 1)})
    assert SITES + "idc" not in plan_beats(MINE, sight, said())
    sight = await looker.look(beats={Site.IDC: by_copy("b-idc-0", 1)}, times=2)
    assert SITES + "idc" in plan_beats(MINE, sight, said())


async def test_a_sites_key_says_where_data_are_only_once_each_agent_there_has():
    looker, held = Looker(MINE), frozenset({"a-idc-0"})
    others = [by_copy("a-idc-1", 1, full=frozenset({"x"})), by_copy("b-idc-0", 1)]
    one_missing = plan_beats(MINE, await looker.look(others[0], times=2), said(holds=held))[SITES + "idc"]
    assert one_missing.holds is None
    assert one_missing.full == {"x"}
    all_told = plan_beats(MINE, await looker.look(*others), said(holds=held))[SITES + "idc"]
    assert all_told.holds == {"a-idc-0", "a-idc-1", "b-idc-0"}


async def test_a_neighbours_beat_is_no_sign_of_life_of_a_copy():
    looker = Looker(CLOUD)
    await looker.look(by_copy("a-idc-0", 1), by_copy("b-idc-0", 1))
    for count in range(2, 12):
        neighbour = by_copy("b-idc-0", count)
        sight = await looker.look(by_copy("a-idc-0", 1), neighbour, beats={Site.IDC: neighbour})
    assert sight.agent_silent_for_ms("a-idc-0", Site.IDC) == 1000
    assert sight.agent_silent_for_ms("b-idc-0", Site.IDC) == 0
    assert sight.silent_for_ms[Site.IDC] == 0


async def test_a_copy_whose_agent_was_never_heard_is_silent_since_the_first_look():
    looker = Looker(CLOUD)
    for count in range(1, 11):
        sight = await looker.look(by_copy("b-idc-0", count))
    assert sight.agent_silent_for_ms("a-idc-0", Site.IDC) == 1000


async def test_a_beat_of_one_agent_a_site_is_a_sign_of_life_of_each_copy_there():
    """Mixed versions, and a site on its way from one agent to one a copy, or back."""
    looker = Looker(CLOUD)
    await looker.look(by_copy("a-idc-0", 1))
    for count in range(1, 11):
        sight = await looker.look(by_copy("a-idc-0", 1), beats={Site.IDC: said(count)})
    assert sight.agent_silent_for_ms("a-idc-0", Site.IDC) == 0


async def test_what_a_sites_joint_key_says_of_copies_is_left_to_their_own_agents():
    joint = by_copy("b-idc-0", 1, down=frozenset({str(PRIMARY)}))
    sight = await Looker(CLOUD).look(by_copy("a-idc-0", 1), beats={Site.IDC: joint})
    assert sight.declared_down == frozenset()


async def test_the_agent_of_the_copy_itself_is_asked():
    looker = Looker(CLOUD)
    sight = await looker.look(by_copy("b-idc-0", 1), times=6)
    assert sight.agents_to_ask() == ("https://a-idc-0", "https://a-idc-1", "https://b-idc-0")
    sight = await looker.look(by_copy("b-idc-0", 2))
    assert sight.agents_to_ask() == ("https://a-idc-0", "https://a-idc-1")


async def test_an_answer_counts_only_for_places_that_its_agent_has():
    sight = await Looker(CLOUD).look()
    sight.note_probe("https://a-idc-0", answered=True, places=frozenset({"b-idc-0"}))
    assert sight.probe_answered("a-idc-0") is None
    sight.note_probe("https://a-idc-0", answered=True, places=frozenset({"a-idc-0"}))
    assert sight.probe_answered("a-idc-0") is True
    assert sight.probe_answered("a-idc-1") is None
    sight.note_probe("https://a-idc-0", answered=False)
    assert sight.probe_answered("a-idc-0") is False


async def test_a_primary_is_kept_without_etcd_by_the_promise_of_every_other_copys_agent():
    sight = await Looker(CLOUD).look()
    sight.note_probe("https://a-idc-0", answered=True, sent_ms=100, waits_ms=3000)
    assert sight.peer_waits_for_ms("a") == 0
    sight.note_probe("https://a-idc-1", answered=True, sent_ms=100, waits_ms=2000)
    assert sight.peer_waits_for_ms("a") == 2000


async def test_a_pod_that_has_not_started_is_no_empty_disk():
    looker, cloud = Looker(CLOUD), {Site.CLOUD: said(1, site=Site.CLOUD, holds=frozenset({"a-cloud-0"}))}
    sight = await looker.look(by_copy("a-idc-0", 1, holds=frozenset()), beats=cloud)
    assert sight.holders("a") is None
    empty = [by_copy(name, 2, holds=frozenset()) for name in ("a-idc-0", "a-idc-1")]
    sight = await looker.look(*empty, beats=cloud)
    assert sight.holders("a") == {"a-cloud-0"}
    assert sight.holders("b") is None


async def test_an_old_word_on_empty_disks_does_not_count():
    looker = Looker(CLOUD)
    empty = [by_copy(name, 1, holds=frozenset()) for name in ("a-idc-0", "a-idc-1")]
    for count in range(1, 12):
        beats = {Site.CLOUD: said(count, site=Site.CLOUD, holds=frozenset())}
        sight = await looker.look(*empty, beats=beats)
        assert (sight.holders("a") is None) == (count == 11), count  # 1,000 ms without a new one


@pytest.mark.parametrize(
    ("own", "urls", "words"),
    [
        ((), URLS, "none of idc has a data_dir"),
        (("a-idc-0",), {}, "places.a-idc-0.agent_url: missing"),
        (("a-idc-0",), {"a-idc-0": "https://x"}, "places.a-idc-1.agent_url: missing"),
        (("a-idc-0", "a-idc-1", "b-idc-0"), {"a-idc-0": "https://x"}, "places.a-idc-1.agent_url: missing"),
    ],
)
def test_an_agent_that_shares_its_site_must_be_known_by_address(own, urls, words):
    with pytest.raises(SettingsError, match=words):
        settings_for(Site.IDC, *own, urls=urls).require_agent()


def test_one_agent_a_site_and_one_a_copy_may_run():
    settings_for(Site.IDC, "a-idc-0", "a-idc-1", "b-idc-0", urls={}).require_agent()
    MINE.require_agent()
    CLOUD.require_agent()


def test_agents_of_one_site_show_their_watchdogs_different_hearts():
    """They may share a directory: a frozen agent's watchdog would see the other one's beats."""
    paths = {heartbeat_path(settings_for(Site.IDC, name)) for name in ("a-idc-0", "a-idc-1", "b-idc-0")}
    assert len(paths) == 3
    assert heartbeat_path(CLOUD) == Path("home/agent.heartbeat")


def exposure(copy: CopyId, lsn: int) -> Exposure:
    return Exposure(copy, 5, lsn, 0, None, None, None, None, "2026-11-23T00:00:00+00:00")


def exposed_world(grant: Grant, stored: dict[str, dict[str, Exposure]]) -> World:
    values = {key: KeyValue(SiteExposures(Site.IDC, cells).to_json(), 9) for key, cells in stored.items()}
    return parse_world(Snapshot(9, values | {GRANTS + "a": KeyValue(grant.to_json(), 8)}))


def test_what_is_exposed_is_told_by_each_agent_in_a_key_of_its_own():
    grant, other = Grant("a", 5, PRIMARY, frozenset(), Mode.ALONE), CopyId.parse("a-idc-1-bbbb")
    mine, old, theirs = exposure(PRIMARY, 3), exposure(PRIMARY, 1), exposure(other, 2)
    both = {EXPOSED + "a-idc-0": {"a": mine}, EXPOSED + "a-idc-1": {"a": theirs}}
    world = exposed_world(grant, both | {EXPOSURES + "idc": {"a": old}})
    assert world.exposures[Site.IDC] == {"a": mine}
    settled = exposed_world(grant, {EXPOSED + "a-idc-0": {}, EXPOSURES + "idc": {"a": old}})
    assert settled.exposures[Site.IDC] == {}
    assert own_keys(MINE, world, {"a": mine}) == {EXPOSED + "a-idc-0": ({"a": mine}, {"a": mine})}
    one = settings_for(Site.IDC, "a-idc-0", "a-idc-1", "b-idc-0", urls={})
    assert own_keys(one, world, {"a": mine}) == {EXPOSURES + "idc": ({"a": mine}, {"a": mine})}


def test_a_copy_that_was_never_told_of_is_written_once():
    world = World({}, {}, hold=False)
    assert own_keys(MINE, world, {}) == {EXPOSED + "a-idc-0": (None, {})}
    assert replace(world, exposed={"a-idc-0": {}}).exposed["a-idc-0"] == {}
