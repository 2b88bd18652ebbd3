"""The warm caches of both sites, after a site was lost under load and came back."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core_app.read_models.loan_summary import summary_key
from replication.model import DATA_SITES, Site
from replication.projection.valkey import open_valkey, read_held, read_value
from replication.settings import PlaceSettings, SiteSettings
from replication.tls import OPERATOR
from tests.integration.failover.town import biyi, settings_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TOLD = """
select distinct on (key) key, outbox_id, payload->'loan' from core.outbox
where topic in ('loan.drawn', 'loan.repaid') order by key, outbox_id desc
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("cache-stand")
    try:
        up = biyi(made, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        yield made
    finally:
        biyi(made, "stand", "down")


async def read_copy(place: PlaceSettings, settings: SiteSettings) -> tuple[int, dict[str, Any]]:
    """Return how many rows a site's own copy has, and for each loan its newest number and state."""
    async with await psycopg.AsyncConnection.connect(
        host=place.host, port=place.port, user="biyi_read", dbname="biyi", passfile=str(settings.passfile)
    ) as reader:
        total = await (await reader.execute("select count(*) from core.outbox")).fetchone()
        newest = await (await reader.execute(TOLD)).fetchall()
    assert total is not None
    return total[0], {key: (number, loan) for key, number, loan in newest}


async def compare(home: Path, site: Site) -> int:
    """Compare a site's cache with its own copies, value by value; returns the loans compared."""
    settings = settings_of(home, site)
    assert settings.valkey_passfile is not None
    loans = 0
    async with open_valkey(settings.valkey_address(OPERATOR), settings.valkey_passfile, 2.0) as valkey:
        for place in settings.own_places():
            rows, expected = await read_copy(place, settings)
            position = (await read_held(valkey, place.cell)).position
            assert position is not None
            assert position.applied == rows, f"{site} {place.cell}: a row is lost or doubled"
            for key, (number, loan) in expected.items():
                found = await read_value(valkey, place.cell, summary_key(key))
                assert found is not None, f"{site} {place.cell}: {key} is missing"
                assert (found.version, found.body["value"]) == (number, loan)
            assert await valkey.keys(f"biyi:{place.cell}:value:*") != [] or not expected
            loans += len(expected)
    return loans


def test_a_lost_site_neither_loses_nor_doubles_a_row_of_either_cache(home: Path) -> None:
    drill = biyi(home, "drill", "run", "site-loss", "--site", "idc", "--execute", "--json")
    assert drill.returncode == 0, drill.stderr
    assert json.loads(drill.stdout)["failed_back"] is True
    status = biyi(home, "cache", "status", "--json")
    assert status.returncode == 0, status.stdout
    caches = json.loads(status.stdout)
    assert {caches[str(site)]["a"]["epoch"] for site in DATA_SITES} == {3}
    assert all(asyncio.run(compare(home, site)) >= 24 for site in DATA_SITES)


def test_a_wiped_valkey_of_one_site_is_filled_again_by_itself(home: Path) -> None:
    async def wipe() -> None:
        settings = settings_of(home, Site.CLOUD)
        assert settings.valkey_passfile is not None
        async with open_valkey(settings.valkey_address(OPERATOR), settings.valkey_passfile, 2.0) as valkey:
            await valkey.flushall()
            async with asyncio.timeout(20):
                for cell in ("a", "b"):
                    while not ((p := (await read_held(valkey, cell)).position) and not p.in_window):
                        await asyncio.sleep(0.05)

    asyncio.run(wipe())
    assert asyncio.run(compare(home, Site.CLOUD)) >= 24


def test_a_resync_ends_with_everything_warm_and_says_how_many_rows(home: Path) -> None:
    done = biyi(home, "cache", "resync", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] > 0
    assert all(asyncio.run(compare(home, site)) >= 24 for site in DATA_SITES)
