"""Rules broken on purpose on the real stand: the drill must find the loss, or it proves nothing."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from replication.model import Site
from runbooks.stand.home import UpOptions
from runbooks.stand.links import LinkState, link_name
from runbooks.stand.sites import set_link
from runbooks.stand.up import down, up
from tests.integration.failover.town import (
    LOWER_THE_DURABILITY,
    biyi,
    execute_at_primary_of_a,
    settings_of,
    writing,
)

pytestmark = pytest.mark.slow

DELAY = LinkState(delay_ms=300)
"""Between the sites: what was acknowledged without the copy in this time is lost with its site."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    try:
        asyncio.run(up(tmp_path, UpOptions(backups=False)))
        yield tmp_path
    finally:
        down(tmp_path)


async def wait_until_written(home: Path) -> None:
    async with writing(home) as writers:
        await writers.write_on({"a", "b"})


def test_acknowledging_without_the_sync_copy_is_found_as_lost_writes(home: Path):
    execute_at_primary_of_a(home, *LOWER_THE_DURABILITY)
    set_link(home, link_name("idc", "cloud"), DELAY)
    asyncio.run(wait_until_written(home))
    done = biyi(home, "drill", "run", "site-loss", "--site", "idc", "--rate", "80", "--execute", "--json")
    assert done.returncode == 1, done.stderr
    drilled = json.loads(done.stdout)
    assert drilled["lost"] > 0
    assert drilled["overlapping_epochs"] > 0


def test_a_lowered_durability_alone_is_refused_before_anything_is_written(home: Path):
    execute_at_primary_of_a(home, "alter role biyi_app set synchronous_commit = local")
    settings = settings_of(home, Site.IDC)
    place = settings.place("a-idc-0")
    with (
        psycopg.connect(
            host=place.host, port=place.port, user="biyi_app", dbname="biyi", passfile=str(settings.passfile)
        ) as connection,
        pytest.raises(psycopg.Error, match="synchronous_commit is lowered"),
    ):
        connection.execute("select biyi.require_epoch(1)")


def test_the_same_delay_loses_nothing_while_the_rules_stand(home: Path):
    set_link(home, link_name("idc", "cloud"), DELAY)
    done = biyi(home, "drill", "run", "site-loss", "--site", "idc", "--execute", "--json")
    drilled = json.loads(done.stdout)
    assert (drilled["lost"], drilled["overlapping_epochs"], drilled["unknown_unresolved"]) == (0, 0, 0)
    assert done.returncode == 0, json.dumps(drilled, indent=1)
    # What waited for the copy when the site was lost was on its disk: written down before the rewind.
    reports = json.loads(biyi(home, "quarantine", "--json").stdout)
    assert [report["site"] for report in reports] == ["idc"]
    assert reports[0]["rows"] > 0
