"""The real server behind the failover loop's port, where the port promises more than the package below it."""

import psycopg
import pytest

from replication.model import CopyId
from replication.postgres import conf, hba
from replication.postgres.server import PostgresServer
from tests.integration.postgres.places import Pair, admin, connect_as


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
