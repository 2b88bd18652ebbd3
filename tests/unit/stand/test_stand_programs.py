from pathlib import Path

import pytest

from replication.model import Site
from runbooks.stand.programs import ServerBinaries, plan_etcd, plan_programs
from tests.unit.stand.making import a_stand

OLD = ServerBinaries(Path("/bin/etcd"), (3, 5, 1), Path("/bin/valkey-server"))
NEW = ServerBinaries(Path("/bin/etcd"), (3, 6, 4), Path("/bin/valkey-server"))


def test_the_witness_runs_a_border_and_an_etcd_member_only():
    assert [p.name for p in plan_programs(a_stand(), Site.WITNESS, OLD)] == ["border", "etcd"]


def test_a_data_site_starts_its_border_first():
    names = [p.name for p in plan_programs(a_stand(), Site.IDC, OLD)]
    assert names[:4] == ["border", "etcd", "valkey", "agent"]
    assert names[4:] == ["api", "projector", "payer", "notary", "watcher", "console"]


@pytest.mark.parametrize("site", list(Site))
def test_an_etcd_member_reaches_its_peers_only_through_its_own_border(site: Site):
    stand = a_stand()
    program = plan_etcd(stand, site, OLD)
    assert dict(program.environment) == {
        "HTTPS_PROXY": f"https://127.0.0.1:{stand.port(site, 'border-connect')}"
    }
    cluster = next(word for word in program.command if word.startswith("--initial-cluster="))
    assert cluster.count("https://LOCALHOST:") == 3  # lower case would escape the proxy


@pytest.mark.parametrize("binaries", [OLD, NEW])
def test_etcd_keeps_its_durability(binaries: ServerBinaries):
    assert not any("fsync" in word for word in plan_etcd(a_stand(), Site.IDC, binaries).command)


def test_the_corruption_check_is_asked_for_in_the_words_of_the_version():
    assert "--experimental-initial-corrupt-check=true" in plan_etcd(a_stand(), Site.IDC, OLD).command
    assert "--feature-gates=InitialCorruptCheck=true" in plan_etcd(a_stand(), Site.IDC, NEW).command


def test_no_command_line_shows_a_secret():
    words = [word for site in Site for p in plan_programs(a_stand(), site, OLD) for word in p.command]
    assert not any("pass" in word.lower() or word == "token" for word in words)
