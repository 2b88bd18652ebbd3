"""No clear personal value on a stand: logs, errors, figures, data, WAL, backups, archive, caches, outbox.

Canaries go through both entrances, in good requests and in every kind of bad one; then every byte of the
stand's directories is searched, every row of every cell, every figure, and every value in both caches.
"""

import asyncio
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from compliance.protection.ring_file import read_ring
from core_app.customers.identity import compute_check_character
from replication.model import DATA_SITES, Site
from replication.projection.valkey import open_valkey
from replication.tls import OPERATOR, PROMETHEUS, Identity, public_tls
from runbooks.stand.certificates import tls_dir
from runbooks.stand.topology import read_stand
from runbooks.tokens import channel_token
from tests.faults.canaries import find_in, find_in_tree
from tests.integration.core_app.conftest import Client
from tests.integration.core_app.lending import confirm
from tests.integration.failover.town import biyi, entrances_of, settings_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_DRAW = random.Random("canaries of this test")
FIRST_17 = f"4403071987{_DRAW.randint(1, 12):02}{_DRAW.randint(10, 28)}{_DRAW.randint(100, 999)}"
PERSON = {
    "name": "欧阳金丝雀鸟",
    "id_number": FIRST_17 + compute_check_character(FIRST_17),
    "phone": f"1391{_DRAW.randint(10**6, 10**7 - 1)}",
}
EVIDENCE = {
    "device": f"CANARY-DEVICE-{_DRAW.randint(10**9, 10**10)}",
    "wifi": "C0:FF:EE:CA:4A:17",
    "ip": "203.0.113.217",
    "address": "深圳市金丝雀路八十八号三单元",
}
FIGURES_OF = ("agent", "api", "projector", "payer", "notary", "watcher")
LATE = re.compile("is not being archived here|its WAL is not archived|another backup of it is being taken")
"""What a busy machine may make of a backup: the archive is behind, or the site's own is being taken."""
LATE_S = 300.0
"""Patience with an archive that is late; anything else is a defect at once."""
LEAKS = [*PERSON.values(), *EVIDENCE.values(), "C0FFEECA4A17"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("canary-stand")
    try:
        for _ in range(3):  # on a busy machine the next one finishes what was not ready in time
            up = biyi(made, "stand", "up")
            if up.returncode == 0 or "ended while waiting" in up.stderr:  # a process that died is a defect
                break
        assert up.returncode == 0, up.stderr
        yield made
    finally:
        biyi(made, "stand", "down")


async def lend(client: Client) -> None:
    """A loan to the canary, and every kind of bad request with the canary's data in it."""
    _, made, _ = await client.post("/v1/customers", PERSON)
    wish = {"customer_id": made["customer_id"], "product": "instalment-12", "amount_fen": 100_000}
    wish |= {"periods": 12, "bureau_authorisation": "auth-0001", "evidence": EVIDENCE}
    status, decided, _ = await client.post("/v1/applications", wish)
    assert status == 201, decided
    if decided["decision"] == "approved":
        _, contract, _ = await client.post("/v1/contracts", confirm(decided))
        await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert (await client.get(f"/v1/customers/{made['customer_id']}"))[0] == 200
    for field, value in PERSON.items():
        other = PERSON | {field: value + "9"}
        await client.post("/v1/customers", other | {value: value})
        await client.post("/v1/customers", {**PERSON, "name": {"given": value}})
        await client.post(
            "/v1/applications", wish | {"customer_id": value, "product": value, "periods": value}
        )
        await client.post("/v1/applications", wish | {"evidence": EVIDENCE | {"ip": value, "wifi": value}})
        await client.post("/v1/contracts", {"application_id": value})
        await client.post("/v1/repayments", {"loan_id": value, "amount_fen": value})
        await client.send("POST", "/v1/customers", data=f'{{"name": "{value}'.encode())
        await client.get(f"/v1/customers/{value}")


async def search_cache(home: Path) -> tuple[list[str], int]:
    found: list[str] = []
    seen = 0
    for site in DATA_SITES:
        settings = settings_of(home, site)
        assert settings.valkey_passfile is not None
        async with open_valkey(settings.valkey_address(OPERATOR), settings.valkey_passfile, 2.0) as valkey:
            client: Any = valkey
            for key in await client.keys("*"):
                seen += 1
                dumped = await client.dump(key) or b""
                name = key if isinstance(key, bytes) else str(key).encode()
                found += [f"cache of {site}: {leak}" for leak in find_in(name + dumped, LEAKS)]
    return found, seen


@pytest.fixture(scope="module")
def answers(home: Path) -> list[str]:
    """What the entrances of both sites answered to whoever sent the canaries."""

    async def send() -> list[str]:
        found: list[str] = []
        settings = settings_of(home, Site.IDC)
        connector = aiohttp.TCPConnector(ssl=public_tls(settings.tls_dir))
        async with aiohttp.ClientSession(connector=connector) as session:
            for entrance in entrances_of(home).values():
                client = Client(session, entrance, channel_token(settings))
                await lend(client)
                found += client.seen
        return found

    return asyncio.run(send())


async def read_as_administrator(home: Path, cell: str) -> psycopg.AsyncConnection[Any]:
    """Connect to the cell's copy at its home site; it holds what is committed, primary or not."""
    settings = settings_of(home, next(c.home for c in settings_of(home, Site.IDC).cells if c.name == cell))
    place = next(each for each in settings.own_places() if each.cell == cell)
    return await psycopg.AsyncConnection.connect(
        host=place.host, port=place.port, user="biyi_admin", dbname="biyi", passfile=str(settings.passfile)
    )


def search_files(home: Path) -> int:
    """Find no canary in any file of the stand; returns how many bytes were looked at."""
    looked = 0
    for root in {home, read_stand(home).data_root or home}:
        found, size = find_in_tree(root, LEAKS)
        looked += size
        assert found == []
    return looked


def test_no_answer_repeats_a_canary(answers: list[str]) -> None:
    assert len(answers) > 50
    assert [answer for answer in answers if find_in(answer.encode(), LEAKS)] == []


@pytest.mark.usefixtures("answers")
async def test_no_canary_is_in_a_cache(home: Path) -> None:
    cached, keys = await search_cache(home)
    assert keys > 0
    assert cached == []


@pytest.mark.usefixtures("answers")
async def test_no_canary_is_in_a_figure(home: Path) -> None:
    prometheus = Identity(tls_dir(home, Site.IDC), PROMETHEUS)
    async with aiohttp.ClientSession() as http:
        for site, kind in itertools.product(DATA_SITES, FIGURES_OF):
            url = f"https://127.0.0.1:{read_stand(home).port(site, kind)}/metrics"
            async with http.get(url, ssl=prometheus.to(kind)) as answer:
                text = await answer.text()
                assert (answer.status, "biyi_" in text) == (200, True), (site, kind)
                assert find_in(text.encode(), LEAKS) == [], (site, kind)


@pytest.mark.usefixtures("answers")
async def test_no_canary_is_in_a_row_of_the_outbox_or_of_any_other_table(home: Path) -> None:
    """As text: what PostgreSQL compresses cannot be found in its files."""
    seen: Counter[str] = Counter()
    settings = settings_of(home, Site.IDC)
    for cell in settings.cells:
        async with await read_as_administrator(home, cell.name) as connection:
            listed = await connection.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables"
                " where schemaname not in ('pg_catalog', 'information_schema')"
            )
            for (table,) in await listed.fetchall():
                rows = await connection.execute(f"select t::text from {table} t".encode())
                async for (row,) in rows:
                    seen[table] += 1
                    assert find_in(row.encode(), LEAKS) == [], (cell.name, table)
    for table in ("core.outbox", "core.customers", "core.evidence", "core.commands"):
        assert seen[table] > 0, f"{table} is empty: nothing was shown"
    assert seen["audit.entries"] + seen["audit.blocks"] > 0


@pytest.mark.usefixtures("answers")
def test_no_canary_is_in_data_wal_outbox_journals_or_logs(home: Path) -> None:
    assert search_files(home) > 50_000_000, "the data directories were not searched"
    assert list(home.glob("*/logs/*.log"))


@pytest.mark.usefixtures("answers")
def test_no_canary_is_in_a_backup_or_the_archive(home: Path) -> None:
    end = time.monotonic() + LATE_S
    while (taken := biyi(home, "backup", "now", "--json")).returncode != 0:
        failed = [one["failed"] for one in json.loads(taken.stdout or "[]") if "failed" in one]
        assert failed, taken.stderr
        assert all(LATE.search(why) for why in failed), failed
        assert time.monotonic() < end, failed
        time.sleep(5)
    kept = [path for path in home.glob("*/backup/*/base/*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) > 1_000_000, "there is no backup: nothing was shown"
    assert [path for path in home.glob("*/backup/*/wal/*") if path.is_file()], "no WAL was archived"
    search_files(home)


async def test_no_key_is_in_clear_outside_its_files(home: Path) -> None:
    stand = read_stand(home)
    for site in DATA_SITES:
        ring = read_ring(stand.ring_path(site))
        secrets = [secret.hex() for secret in ring.secrets.values()]
        for versions in ring.tables.values():
            for version in versions:
                secrets += [key.hex() for key in version.index_keys.values()]
                secrets += [node.hex() for node in version.tree.nodes.values()] if version.tree else []
        assert len(secrets) > 8
        wanted = [bytes.fromhex(text) for text in secrets]
        for root in {home, stand.data_root or home}:
            for path in (each for each in root.rglob("*") if each.is_file() and not each.is_symlink()):
                content = path.read_bytes()
                leaked = [
                    secret for secret in wanted if secret in content or secret.hex().encode() in content
                ]
                assert not leaked, f"{path} holds a key in clear"
