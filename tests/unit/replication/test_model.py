"""Grants and their stored form."""

import pytest

from replication.model import CopyId, Grant, Mode, format_lsn, parse_lsn

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
