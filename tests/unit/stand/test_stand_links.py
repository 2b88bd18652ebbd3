from pathlib import Path

import pytest

from runbooks.stand.links import (
    ALL_LINKS,
    HEALED,
    LinkMode,
    LinkState,
    healed_table,
    link_name,
    links_of_site,
    parse_links,
    plain_links,
    read_links,
    unhealthy,
    write_links,
)


def test_there_is_a_link_for_each_directed_pair():
    assert len(ALL_LINKS) == 6


@pytest.mark.parametrize(("source", "destination"), [("idc", "idc"), ("idc", "moon"), ("", "cloud")])
def test_a_link_between_no_two_sites_is_refused(source: str, destination: str):
    with pytest.raises(ValueError, match="two different"):
        link_name(source, destination)


def test_the_links_of_a_site_are_those_from_and_to_it():
    assert set(links_of_site("idc")) == {"idc>cloud", "cloud>idc", "idc>witness", "witness>idc"}


def test_a_missing_file_means_that_all_links_are_ok(tmp_path: Path):
    assert read_links(tmp_path / "links.json") == healed_table()


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path):
    table = healed_table() | {"idc>cloud": LinkState(LinkMode.HOLE), "cloud>idc": LinkState(delay_ms=7)}
    write_links(tmp_path / "links.json", table)
    assert read_links(tmp_path / "links.json") == table


@pytest.mark.parametrize(
    "plain",
    [
        {"idc>moon": {"mode": "ok"}},
        {"idc>cloud": {"mode": "gone"}},
        {"idc>cloud": {"delay_ms": -1}},
        {"idc>cloud": {"delay_ms": "5"}},
        {"idc>cloud": {"delay_ms": 10**9}},
        {"idc>cloud": {"colour": "red"}},
    ],
)
def test_a_bad_table_is_refused(plain: dict[str, dict[str, object]]):
    with pytest.raises(ValueError):  # noqa: PT011 - each row has a message of its own
        parse_links(plain)


def test_the_json_form_is_read_back():
    assert parse_links(plain_links(healed_table())) == healed_table()


def test_only_links_that_are_not_plainly_ok_are_named():
    assert unhealthy(healed_table()) == []
    table = healed_table() | {"idc>cloud": LinkState(delay_ms=50)}
    assert unhealthy(table) == ["idc to cloud: delay 50 ms"]
    assert table["cloud>idc"] == HEALED
