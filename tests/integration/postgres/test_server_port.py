"""The real server behind the failover loop's port, where the port promises more than the package below it."""

import psycopg
import pytest

from replication.etcd import Outcome
from replication.failover.act import Actor
from replication.failover.states import CopyState, Decision, OwnCopy, Seen, Step, Why
from replication.grant_swap import Register
from replication.journal import Journal
from replication.model import CopyId, Site
from replication.postgres import conf, hba
from replication.postgres.server import PostgresServer
from replication.settings import CellSettings, SiteSettings
from tests.integration.postgres.places import PG_BIN, Pair, admin, connect_as


async def test_an_open_file_is_not_taken_for_an_open_server(pair: Pair) -> None:
    """An agent that ended between writing the file and the reload must not leave the cell shut for good."""
    await pair.make_primary()
    server = PostgresServer(pair.idc, pair.home / "quarantine", 100)
    hba.write_open(pair.idc)
    assert hba.is_open(pair.idc)
    assert not server.is_open()
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        await connect_as(pair.idc, "biyi_app")
    await server.open_to_clients()
    assert server.is_open()
    async with await connect_as(pair.idc, "biyi_app") as session:
        assert not session.closed
    await server.release()


async def test_the_port_tells_the_directory_the_server_and_its_last_life(pair: Pair) -> None:
    server = PostgresServer(pair.idc, pair.home / "quarantine", 100)
    assert not (await server.read_directory()).present
    own_id = await pair.make_primary()
    directory = await server.read_directory()
    assert (directory.running, directory.standby, directory.copy) == (True, False, own_id)
    assert (await server.read_status()).in_recovery is False
    await server.set_sync_names(frozenset({CopyId.parse("a-cloud-0-abcd")}))
    async with await admin(pair.idc) as conn:
        assert await conf.read_sync_names(conn) == {CopyId.parse("a-cloud-0-abcd")}
    await server.release()
    await server.stop_clean(20)
    assert (await server.read_stopped()).clean


async def test_a_copy_is_not_stopped_for_a_rewind_that_its_upstream_cannot_serve(pair: Pair) -> None:
    """Behind a cut link it would be stopped and started again at every look."""
    own_id = await pair.make_primary()
    server = PostgresServer(pair.idc, pair.home / "quarantine", 100)
    settings = SiteSettings(
        site=Site.IDC,
        home_dir=pair.home,
        etcd_urls=(),
        cells=(CellSettings("a", Site.IDC),),
        places=(pair.idc.place, pair.cloud.place),
        agent_urls={},
        agent_port=0,
        api_port=0,
        valkey_port=0,
        pg_bin=PG_BIN,
        passfile=pair.home / "pgpass",
        key_file=pair.home / "key",
    )
    journal = Journal(pair.home / "journal.jsonl", "a")
    etcd: Register = None  # type: ignore[assignment]  # a rewind touches no grant
    away = CopyId("a", Site.CLOUD, 0, "abcd")
    seen = Seen("a", Site.IDC, OwnCopy("a-idc-0", Site.IDC, CopyState.STANDBY, own_id), True, None)
    stuck = Decision(Step.REWIND, Why.STREAM_STUCK, copy=away)
    assert await Actor(settings, server, etcd, journal).carry_out(seen, stuck) is Outcome.UNKNOWN
    assert "checkpoint at a-cloud-0" in (pair.home / "journal.jsonl").read_text()
    assert (await server.read_directory()).running
    await server.release()
