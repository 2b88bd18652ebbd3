import json
from pathlib import Path

import pytest

from replication.model import CopyId, Site
from runbooks.stand.ports import DATA_SITE_NAMES, choose_ports, peers_of, place_names, relays_of
from runbooks.stand.topology import StandError, make_cells, read_stand, site_settings, write_stand
from tests.unit.stand.making import CELLS, a_stand


def test_two_copies_stand_one_at_each_site():
    assert place_names(CELLS, 2) == ("a-cloud-0", "a-idc-0", "b-cloud-0", "b-idc-0")


def test_a_third_copy_stands_at_the_home_site_of_its_cell():
    assert set(place_names(CELLS, 3)) - set(place_names(CELLS, 2)) == {"a-idc-1", "b-cloud-1"}


def test_every_port_is_used_once():
    ports = a_stand(3).ports
    assert len(set(ports.values())) == len(ports)


def test_ports_that_are_taken_are_passed_over():
    assert choose_ports(["x", "y"], 20_000, lambda port: port not in (20_000, 20_002)) == {
        "x": 20_001,
        "y": 20_003,
    }


def test_too_few_free_ports_are_said():
    with pytest.raises(OSError, match="no free port for x"):
        choose_ports(["x"], 20_000, lambda _: False)


@pytest.mark.parametrize("viewer", [Site.IDC, Site.CLOUD])
@pytest.mark.parametrize("copies", [2, 3])
def test_own_servers_are_addressed_directly_and_others_through_the_own_border(viewer: Site, copies: int):
    stand = a_stand(copies)
    relays = {relay.listen_port: relay.target_port for relay in relays_of(stand.ports, viewer)}
    for place in site_settings(stand, viewer).places:
        real = stand.port(place.site, f"copy:{place.name}")
        assert (place.port == real) == (place.site is viewer)
        assert relays.get(place.port, place.port) == real


@pytest.mark.parametrize("viewer", [Site.IDC, Site.CLOUD])
def test_data_directories_are_told_only_to_their_own_site(viewer: Site):
    places = site_settings(a_stand(3), viewer).places
    assert all((place.data_dir is not None) == (place.site is viewer) for place in places)


@pytest.mark.parametrize("viewer", [Site.IDC, Site.CLOUD])
def test_etcd_is_addressed_own_member_first_and_no_member_left_out(viewer: Site):
    stand = a_stand()
    urls = site_settings(stand, viewer).etcd_urls
    assert urls[0].endswith(str(stand.port(viewer, "etcd-client")))
    assert len(set(urls)) == 3


def test_no_settings_name_a_real_port_of_another_site():
    stand = a_stand(3)
    for viewer in (Site.IDC, Site.CLOUD):
        settings = site_settings(stand, viewer)
        told = {p.port for p in settings.places} | {int(u.rsplit(":")[-1]) for u in settings.etcd_urls}
        told |= {int(u.rsplit(":")[-1]) for u in settings.agent_urls.values()}
        foreign = {p for n, p in stand.ports.items() if not n.startswith(f"{viewer}/") and "/to/" not in n}
        assert not told & foreign


@pytest.mark.parametrize("site", ["idc", "cloud", "witness"])
def test_etcd_peers_of_the_other_two_sites_are_known_by_their_port(site: str):
    stand = a_stand()
    assert set(peers_of(stand.ports, site).values()) == {"idc", "cloud", "witness"} - {site}


def test_the_witness_has_no_data_and_calls_no_service():
    names = [name for name in a_stand(3).ports if name.startswith("witness/")]
    assert not any("copy:" in name or "/to/" in name for name in names)
    assert DATA_SITE_NAMES == ("idc", "cloud")


def test_a_stand_is_read_back_as_it_was_written(tmp_path: Path):
    stand = a_stand(3, tmp_path)
    write_stand(stand)
    assert read_stand(tmp_path) == stand


def test_the_description_is_private(tmp_path: Path):
    write_stand(a_stand(home=tmp_path))
    assert (tmp_path / "stand.json").stat().st_mode & 0o077 == 0


def test_an_unknown_key_is_refused_by_name(tmp_path: Path):
    write_stand(a_stand(home=tmp_path))
    plain = json.loads((tmp_path / "stand.json").read_text())
    (tmp_path / "stand.json").write_text(json.dumps({**plain, "colour": "red"}))
    with pytest.raises(StandError, match=r"colour.*--fresh"):
        read_stand(tmp_path)


def test_a_description_without_a_port_is_refused_by_name(tmp_path: Path):
    write_stand(a_stand(home=tmp_path))
    plain = json.loads((tmp_path / "stand.json").read_text())
    del plain["ports"]["idc/agent"]
    (tmp_path / "stand.json").write_text(json.dumps(plain))
    with pytest.raises(StandError, match="idc/agent"):
        read_stand(tmp_path)


@pytest.mark.parametrize("spoilt", ["", "{", "[]", "null", '{"format": 99}'])
def test_a_spoilt_description_is_refused_with_what_to_do(tmp_path: Path, spoilt: str):
    (tmp_path / "stand.json").write_text(spoilt)
    with pytest.raises(StandError, match="--fresh"):
        read_stand(tmp_path)


def test_no_stand_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(StandError, match="biyi stand up"):
        read_stand(tmp_path)


def test_cells_are_named_and_at_home_by_turns():
    cells = make_cells(28)
    assert [cell.name for cell in cells][::9] == ["a", "j", "s", "b1"]
    assert [cell.home for cell in cells[:3]] == [Site.IDC, Site.CLOUD, Site.IDC]
    names = {cell.name for cell in cells}
    assert len(names) == 28
    assert all(CopyId.parse(f"{name}-idc-0-0").cell == name for name in names)
