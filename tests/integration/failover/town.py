"""A stand with customers: what the plain failover cases need of both sites at once."""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import psycopg

from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.model import DATA_SITES, Grant, Mode, Site
from replication.settings import SiteSettings, read_site_settings
from replication.tls import calling, public_tls
from runbooks.drills.arrivals import make_person
from runbooks.drills.customer import Customers, Request
from runbooks.drills.read_rows import read_keys
from runbooks.drills.records import Outcome
from runbooks.tokens import channel_token

WITHIN_SECONDS = 150.0
"""Generous: a busy machine takes ten times as long to rewind a copy as an idle one."""

LOWER_THE_DURABILITY = (
    "create or replace function biyi.require_epoch(wanted bigint) returns void"
    " language plpgsql as 'begin end'",
    "alter role biyi_app set synchronous_commit = local",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'biyi_app'",
)
"""Takes both guards away: the session's durability, and the check of it in each transaction."""

Grants = Mapping[str, Grant]


def biyi(home: Path, *words: str, within_s: float = 200) -> subprocess.CompletedProcess[str]:
    """Run the command line against the stand of `home`."""
    command = [sys.executable, "-c", "from runbooks.cli import main; main()", *words]
    return subprocess.run(
        command, env={**os.environ, "BIYI_HOME": str(home)}, capture_output=True, text=True, timeout=within_s
    )


def settings_of(home: Path, site: Site) -> SiteSettings:
    return read_site_settings(home / site / "site.json")


def entrances_of(home: Path) -> dict[str, str]:
    return {str(s): f"https://127.0.0.1:{settings_of(home, s).api_port}" for s in DATA_SITES}


def execute_at_primary_of_a(home: Path, *statements: str) -> None:
    """Run statements as administrator at the home place of cell a."""
    settings = settings_of(home, Site.IDC)
    place = settings.place("a-idc-0")
    with psycopg.connect(
        host=place.host, port=place.port, user="biyi_admin", dbname="biyi",
        passfile=str(settings.passfile), autocommit=True,
    ) as connection:  # fmt: skip
        for statement in statements:
            connection.execute(statement.encode())


async def wait_for_grants(
    home: Path,
    holds: Callable[[Grants], bool],
    viewer: Site = Site.CLOUD,
    *,
    within_seconds: float = WITHIN_SECONDS,
) -> Grants:
    """Wait until the grants are as wanted; what they were instead is in the failure."""
    grants: Grants = {}
    settings = settings_of(home, viewer)
    async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
        try:
            async with asyncio.timeout(within_seconds):
                while True:
                    with contextlib.suppress(EtcdUnavailable):
                        grants = {cell: g.grant for cell, g in (await read_world(etcd)).grants.items()}
                        if holds(grants):
                            return grants
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"grants after {within_seconds:g} s: {grants}") from None


def is_healthy(grants: Grants) -> bool:
    """Cell a at home in idc, cell b in cloud, both with their sync copy."""
    sites = {cell: grant.primary.site for cell, grant in grants.items()}
    return sites == {"a": Site.IDC, "b": Site.CLOUD} and all(g.mode is Mode.SYNC for g in grants.values())


class Writers:
    """Customers who register without end at both entrances; `acknowledged` holds the keys answered 2xx."""

    def __init__(self, customers: Customers) -> None:
        self._customers = customers
        self._token = secrets.token_hex(4)
        self._number = 0
        self.acknowledged: dict[str, str] = {}
        self.failed: list[str] = []

    async def write(self, entrance: str) -> None:
        """Register one person at an entrance, repeated elsewhere with the same key until definite."""
        self._number += 1
        person = make_person(self._token, self._number)
        key = f"town-{self._token}-{self._number:06}"
        body = {"name": person.name, "id_number": person.id_number, "phone": person.phone}
        settled = await self._customers.settle(Request("POST", "/v1/customers", key, body), entrance, 20.0)
        if settled.outcome is Outcome.OK:
            self.acknowledged[key] = settled.cell
        else:
            self.failed.append(key)

    async def write_on(self, cells: set[str]) -> None:
        """Write until each of `cells` has acknowledged something that began now."""
        seen = len(self.acknowledged)
        while cells - set(list(self.acknowledged.values())[seen:]):
            await asyncio.gather(*(self.write(site) for site in DATA_SITES))


@contextlib.asynccontextmanager
async def writing(home: Path) -> AsyncIterator[Writers]:
    """Let four customers write all the time while the block runs."""
    settings = settings_of(home, Site.IDC)
    tls, token = public_tls(settings.tls_dir), channel_token(settings)
    async with Customers(entrances_of(home), tls=tls, token=token) as customers:
        writers = Writers(customers)

        async def go_on(entrance: str) -> None:
            while True:
                await writers.write(entrance)

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(go_on(str(site))) for site in DATA_SITES * 2]
            yield writers
            await writers.write_on({"a", "b"})
            for task in running:
                task.cancel()


async def find_lost(home: Path, writers: Writers) -> set[str]:
    """Return the acknowledged keys that no cell holds."""
    grants = await wait_for_grants(home, bool)
    settings = settings_of(home, Site.CLOUD)
    kept = [await read_keys(settings, grant) for grant in grants.values()]
    return set(writers.acknowledged) - frozenset().union(*kept)


def read_stages(home: Path, place: str) -> list[str]:
    """Return the stages in a place's journal, oldest first."""
    site = place.split("-")[1]
    lines = (home / site / "journal" / f"{place}.jsonl").read_text().splitlines()
    return [entry["stage"] for entry in map(json.loads, lines) if "stage" in entry]


def read_decisions_of(home: Path, place: str) -> list[tuple[str, str]]:
    """Return step and reason of each decision in a place's journal, oldest first."""
    site = place.split("-")[1]
    lines = (home / site / "journal" / f"{place}.jsonl").read_text().splitlines()
    return [(entry["decision"], entry["why"]) for entry in map(json.loads, lines) if "decision" in entry]
