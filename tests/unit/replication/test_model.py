"""Grants and their stored form."""

import pytest

from replication.model import Beat, CopyId, Grant, Mode, Site, format_lsn, parse_lsn

PRIMARY = CopyId.parse("a-idc-0-aaaa")
COPY = CopyId.parse("a-cloud-0-bbbb")


def test_a_grant_survives_its_stored_form():
    grant = Grant("a", 3, PRIMARY, frozenset({COPY}), Mode.MOVING, COPY, why="x")
    assert Grant.from_json(grant.to_json()) == grant


@pytest.mark.parametrize(
    ("sync_set", "mode", "candidate"),
    [({COPY}, Mode.ALONE, None), (set(), Mode.SYNC, None), ({PRIMARY}, Mode.SYNC, None),
     ({COPY}, Mode.TAKING, None), ({COPY}, Mode.SYNC, COPY)],
)  # fmt: skip
def test_a_grant_that_contradicts_itself_cannot_be_made(sync_set, mode, candidate):
    with pytest.raises(ValueError, match="grant of a"):
        Grant("a", 1, PRIMARY, frozenset(sync_set), mode, candidate)


def test_lsn_text_and_bytes_agree():
    assert parse_lsn("1/A0") == (1 << 32) + 160
    assert format_lsn(parse_lsn("7F/DEADBEEF")) == "7F/DEADBEEF"


@pytest.mark.parametrize(
    "text", ["copying a-cloud-0-bbbb", "a-witness-0-bbbb", "a-cloud-x-bbbb", "a-cloud-0-", ""]
)
def test_a_name_that_is_no_copy_is_not_taken_for_one(text: str):
    with pytest.raises(ValueError, match="copy id"):
        CopyId.parse(text)


@pytest.mark.parametrize("holds", [None, frozenset(), frozenset({"a-idc-0"})])
def test_a_beat_survives_its_stored_form_and_not_knowing_is_not_holding_nothing(holds):
    beat = Beat(Site.IDC, "x", 3, frozenset({"a-idc-0-aaaa"}), frozenset({str(COPY)}), holds)
    assert Beat.from_json(beat.to_json()) == beat


def test_a_beat_of_an_agent_that_does_not_tell_what_it_holds_is_read():
    old = '{"agent": "x", "count": 3, "down": [], "site": "idc"}'
    assert Beat.from_json(old).holds is None
    assert Beat.from_json(old).full == frozenset()


def test_no_two_takings_of_a_cell_reserve_the_same_timeline():
    grant = Grant("a", 3, PRIMARY, frozenset({COPY}), Mode.SYNC, timeline=4)
    first = grant.taking(COPY, frozenset({COPY}))
    again = first.taking(PRIMARY, frozenset())
    back = Grant(
        "a", 5, PRIMARY, frozenset(), Mode.ALONE, timeline=4, reserved_timeline=again.reserved_timeline
    )
    assert (first.reserved_timeline, again.reserved_timeline) == (5, 6)
    assert back.taking(COPY, frozenset()).reserved_timeline == 7
    assert Grant.from_json(again.to_json()) == again
