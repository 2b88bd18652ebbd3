"""What is written for PostgreSQL and read back from it, without a server."""

import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.model import CopyId, Site
from replication.postgres import conf, hba
from replication.postgres.control import ClusterState, ControlData, parse_control
from replication.postgres.copy import Copy, PostgresError, read_password
from replication.postgres.observe import parse_sync_names
from replication.postgres.replica import UpstreamHistory, is_contained
from replication.settings import PlaceSettings

COPIES = [CopyId("a", Site.CLOUD, ordinal, f"{ordinal:08x}") for ordinal in range(4)]
CONTROL = """\
Database system identifier:           7710839203197346203
Database cluster state:               in archive recovery
Latest checkpoint location:           0/16EF7E0
Latest checkpoint's TimeLineID:       1
Minimum recovery ending location:     1/A0
Min recovery ending loc's timeline:   2
"""


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:biyi_admin:a:b\n*:*:*:biyi_repl:secret\n")
    (tmp_path / "d").mkdir()
    place = PlaceSettings("a-idc-0", "a", Site.IDC, 0, "127.0.0.1", 5000, tmp_path / "d")
    return Copy(place, Path("/bin"), None, passfile)


@given(st.sets(st.sampled_from(COPIES)))
def test_sync_names_read_back_as_written(names: set[CopyId]) -> None:
    assert parse_sync_names(conf.sync_names_value(frozenset(names))) == names


def test_sync_names_ask_for_all_of_them() -> None:
    assert conf.sync_names_value(frozenset(COPIES[:2])) == '2 ("a-cloud-0-00000000","a-cloud-1-00000001")'
    assert conf.sync_names_value(frozenset()) == ""


@pytest.mark.parametrize("value", ["", "it's", "back\\slash", "'", "\\'", 'x="y z"'])
def test_a_setting_reads_back_as_written(copy: Copy, value: str) -> None:
    conf.write_conf(copy, {"cluster_name": value})
    assert conf.read_conf(copy)["cluster_name"] == value


def test_writing_one_setting_keeps_upstream_and_sync_names(copy: Copy) -> None:
    conf.write_conf(copy, {conf.SYNC_NAMES: '1 ("x")'})
    conf.write_conf(copy, {conf.UPSTREAM: "host=h"})
    conf.write_conf(copy, {})
    found = conf.read_conf(copy)
    assert (found[conf.SYNC_NAMES], found[conf.UPSTREAM]) == ('1 ("x")', "host=h")


def test_a_foreign_line_in_the_configuration_is_refused(copy: Copy) -> None:
    (copy.data_dir / conf.CONF_FILE).write_text("fsync = off\n")
    with pytest.raises(PostgresError, match="not ours"):
        conf.read_conf(copy)


def test_the_password_is_not_in_the_upstream_setting(copy: Copy) -> None:
    value = conf.upstream_value(copy, copy.place, COPIES[0])
    assert "secret" not in value
    assert "application_name=a-cloud-0-00000000" in value


def test_files_are_readable_by_their_owner_only(copy: Copy) -> None:
    conf.write_conf(copy, {})
    hba.write_fenced(copy)
    for path in (copy.data_dir / conf.CONF_FILE, copy.beside(".pgpass"), copy.data_dir / "pg_hba.conf"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_fence_is_what_it_says(copy: Copy) -> None:
    assert not hba.is_open(copy)
    hba.write_open(copy)
    assert hba.is_open(copy)
    hba.write_fenced(copy)
    assert not hba.is_open(copy)


def test_a_password_may_hold_colons_and_a_missing_one_is_named(copy: Copy) -> None:
    assert read_password(copy.passfile, "biyi_admin") == "a:b"
    with pytest.raises(PostgresError, match="biyi_owner"):
        read_password(copy.passfile, "biyi_owner")


def test_the_control_file_gives_the_timeline_that_the_data_is_on() -> None:
    found = parse_control(CONTROL)
    assert found == ControlData(
        "7710839203197346203", ClusterState.IN_ARCHIVE_RECOVERY, 2, 0x16EF7E0, 0x1000000A0
    )


def test_an_unreadable_control_file_is_named() -> None:
    with pytest.raises(PostgresError, match="pg_controldata"):
        parse_control(CONTROL.replace("in archive recovery", "in limbo"))


PRIMARY = ControlData("1", ClusterState.SHUT_DOWN, 1, checkpoint_lsn=100, min_recovery_end=0)
FORKED_LATER = UpstreamHistory("1", in_recovery=False, reached_lsn=500, known=True, fork_lsn=200)


def test_a_primary_shut_down_before_the_fork_is_contained() -> None:
    assert is_contained(PRIMARY, FORKED_LATER)


@pytest.mark.parametrize(
    "control",
    [
        dataclasses.replace(PRIMARY, checkpoint_lsn=200),
        dataclasses.replace(PRIMARY, system_identifier="2"),
        *(
            dataclasses.replace(PRIMARY, state=state)
            for state in ClusterState
            if state
            not in (
                ClusterState.SHUT_DOWN,
                ClusterState.SHUT_DOWN_IN_RECOVERY,
                ClusterState.IN_ARCHIVE_RECOVERY,
            )
        ),
    ],
    ids=str,
)
def test_what_ended_after_the_fork_or_uncleanly_or_elsewhere_is_not_contained(control: ControlData) -> None:
    assert not is_contained(control, FORKED_LATER)


def test_a_primary_is_never_contained_in_another_primary_of_its_timeline() -> None:
    for reached, in_recovery in itertools.product((99, 100, 101, 500), (False, True)):
        history = UpstreamHistory("1", in_recovery, reached, known=True, fork_lsn=None)
        assert is_contained(PRIMARY, history) == (in_recovery and reached > 100)


def test_a_standby_is_contained_up_to_what_it_replayed() -> None:
    standby = ControlData("1", ClusterState.SHUT_DOWN_IN_RECOVERY, 1, checkpoint_lsn=50, min_recovery_end=200)
    assert is_contained(standby, FORKED_LATER)
    assert not is_contained(dataclasses.replace(standby, min_recovery_end=201), FORKED_LATER)


def test_an_unknown_timeline_is_not_contained() -> None:
    assert not is_contained(PRIMARY, dataclasses.replace(FORKED_LATER, known=False))
