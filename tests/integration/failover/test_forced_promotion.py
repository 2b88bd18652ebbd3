"""A cell without a second copy loses its site: the price is shown, accepted, paid once, and written down."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replication.model import Mode, Site
from replication.tls import public_tls
from runbooks.cells import ask_agent, summarise
from runbooks.drills.arrivals import make_person
from runbooks.drills.customer import Customers, Request
from runbooks.drills.load import READ_SECONDS
from runbooks.drills.read_rows import read_keys
from runbooks.drills.records import Outcome
from runbooks.stand.home import UpOptions
from runbooks.stand.links import HEALED, LinkMode, LinkState, link_name
from runbooks.stand.sites import kill_site, set_link
from runbooks.stand.up import down, start_site, up
from runbooks.tokens import channel_token
from tests.integration.failover.town import (
    Grants,
    biyi,
    entrances_of,
    find_lost,
    is_healthy,
    settings_of,
    wait_for_grants,
    writing,
)

AMOUNT_FEN = 600_000
WITHIN_SECONDS = 150.0
BOTH_WAYS = (link_name("idc", "cloud"), link_name("cloud", "idc"))


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("forced")
    try:
        asyncio.run(up(made, UpOptions(backups=False, patience_s=280.0)))
        yield made
    finally:
        down(made)


async def ask(home: Path, *words: str) -> tuple[int, Any]:
    done = await asyncio.to_thread(biyi, home, *words, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def get(home: Path, site: Site, path: str) -> Any:
    """Ask an agent itself: polling by the command line would keep a small machine busy with imports."""
    answer = await ask_agent(settings_of(home, site), path, 10.0)
    assert answer is not None
    return answer[1]


async def wait_for_exposure(home: Path, commits: int) -> dict[str, Any]:
    """Wait until at least so many commits of cell a are shown at risk; they are counted once a second."""
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while (found.get("commits") or 0) < commits:
                rows = summarise({Site.IDC: await get(home, Site.IDC, "/v1/status")})
                found = next(row["exposure"] for row in rows if row["cell"] == "a")
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{found}, wanted {commits} commits") from None
    return found


async def lend(customers: Customers, cell: str) -> dict[str, str]:
    """Lend AMOUNT_FEN to somebody of `cell`; return the keys of the four acknowledged commands."""
    keys: dict[str, str] = {}
    answer: dict[str, Any] = {}

    async def do(path: str, body: dict[str, Any]) -> str:
        key = f"lend-{secrets.token_hex(8)}"
        done = await customers.settle(Request("POST", path, key, body), "idc")
        assert done.outcome is Outcome.OK, done
        answer.update(done.answer)
        if done.cell == cell:
            keys[path] = key
        return done.cell

    found = ""
    while found != cell:
        person = make_person(secrets.token_hex(4), 1)
        found = await do(
            "/v1/customers", {"name": person.name, "id_number": person.id_number, "phone": person.phone}
        )
    wish = {"product": "instalment-12", "amount_fen": AMOUNT_FEN, "periods": 12}
    await do("/v1/applications", {"customer_id": answer["customer_id"], **wish})
    confirmed = {"cost_table_sm3": answer["cost_table_sm3"], "cost_table_read_seconds": READ_SECONDS}
    await do("/v1/contracts", {"application_id": answer["application_id"], **confirmed})
    await do("/v1/draws", {"contract_id": answer["contract_id"]})
    return keys


def is_alone(grants: Grants) -> bool:
    return all(grant.mode is Mode.ALONE for grant in grants.values())


async def wait_for_price(home: Path) -> set[str]:
    """Wait until nothing speaks against promoting; return what did before."""
    said: list[str | None] = []
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while None not in said:
                answer = await get(home, Site.CLOUD, "/v1/cells/a/promote")
                said.append(answer["price"]["objection"])
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"no price within {WITHIN_SECONDS:g} s: {said}") from None
    return {objection for objection in said if objection}


async def check_nothing_is_promoted_without_consent(home: Path) -> None:
    """A wrong token, or a copy of a cell that is in good hands, changes nothing."""
    before = await wait_for_grants(home, is_alone)
    code, answer = await ask(home, "promote", "a", "--at", "cloud", "--accept-loss", "lose-000000000000")
    assert (code, answer["outcome"]) == (1, "refused")
    assert "price" in answer["why"]
    code, answer = await ask(home, "promote", "b", "--at", "cloud")
    assert (code, answer["price"]["objection"]) == (1, "is_primary")
    assert await wait_for_grants(home, is_alone) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_lost_cell_is_promoted_at_the_price_shown_and_what_it_cost_is_written_down(home: Path):
    before = await wait_for_grants(home, is_healthy)
    _, rows = await ask(home, "cells")
    assert [row["exposure"]["commits"] for row in rows] == [0, 0]
    code, answer = await ask(home, "promote", "a", "--at", "cloud")
    assert (code, answer["price"]["objection"]) == (1, "primary_visible")
    settings = settings_of(home, Site.CLOUD)
    tls, token = public_tls(settings.tls_dir), channel_token(settings)
    async with Customers(entrances_of(home), tls=tls, token=token) as customers:
        safe = await lend(customers, "a")
        for name in BOTH_WAYS:
            set_link(home, name, LinkState(LinkMode.CUT))
        await wait_for_grants(home, is_alone)
        lost = [await lend(customers, "a") for _ in range(3)]
    at_risk = await wait_for_exposure(home, 12)
    assert at_risk["moved_fen"] >= 3 * AMOUNT_FEN
    assert at_risk["exposed_bytes"] > 0
    assert at_risk["age_s"] > 0

    await asyncio.to_thread(kill_site, home, Site.IDC)
    # A copy that could not stream for long may just be starting again.
    assert await wait_for_price(home) <= {
        "primary_visible", "primary_not_silent_long_enough", "not_a_standby"
    }  # fmt: skip
    code, answer = await ask(home, "promote", "a", "--at", "cloud")
    price = answer["price"]
    assert (code, answer["outcome"]) == (0, "priced")
    # Never less than is lost; what was committed just before the cut may be counted too.
    assert 12 <= price["commits"] <= 16
    assert price["moved_fen"] in {3 * AMOUNT_FEN, 4 * AMOUNT_FEN}
    assert 0 < price["gap_bytes"] == price["primary_lsn"] - price["copy_lsn"]
    await check_nothing_is_promoted_without_consent(home)
    code, done = await ask(
        home, "promote", "a", "--at", "cloud", "--accept-loss", price["token"], "--by", "duty officer"
    )
    assert (code, done["outcome"]) == (0, "done"), done
    taken = await wait_for_grants(home, lambda grants: grants["a"].candidate is None)
    assert taken["a"].epoch == before["a"].epoch + 1
    assert taken["a"].primary == before["b"].primary.parse(price["copy"])

    for name in BOTH_WAYS:
        set_link(home, name, HEALED)
    async with writing(home) as writers:
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(start_site, home, Site.IDC)
        after = await wait_for_grants(home, is_healthy, within_seconds=2 * WITHIN_SECONDS)
    assert (writers.failed, await find_lost(home, writers)) == ([], set())
    keys = await read_keys(settings_of(home, Site.CLOUD), after["a"])
    assert set(safe.values()) <= keys
    lost_keys = {key for each in lost for key in each.values()}
    assert not lost_keys & keys
    await check_the_loss_is_written_down(home, lost_keys)
    check_the_evidence(Path(done["evidence"]), price)


async def check_the_loss_is_written_down(home: Path, lost_keys: set[str]) -> None:
    """Every lost command and every fen that moved stands in the quarantine report."""
    code, reports = await ask(home, "quarantine")
    assert code == 0
    (report,) = reports
    assert report["transactions"] >= 12
    shown = await asyncio.to_thread(biyi, home, "quarantine", report["report"])
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    kept = {row["row"]["idempotency_key"] for row in rows if row["table"] == "core.commands"}
    assert lost_keys <= kept
    entries = [row["row"]["amount_fen"] for row in rows if row["table"] == "core.entries"]
    assert sum(amount for amount in entries if amount > 0) == 3 * AMOUNT_FEN


def check_the_evidence(folder: Path, price: dict[str, Any]) -> None:
    verdict = json.loads((folder / "verdict.json").read_text())
    assert (verdict["by"], verdict["accepted"], verdict["outcome"]) == (
        "duty officer", price["token"], "done"
    )  # fmt: skip
    assert verdict["price"]["moved_fen"] == price["moved_fen"]
    lines = (folder / "journals" / "cloud-a-cloud-0.jsonl").read_text().splitlines()
    (forced,) = [entry for entry in map(json.loads, lines) if entry.get("stage") == "forced"]
    assert (forced["by"], forced["token"]) == ("duty officer", price["token"])
    assert (forced["commits"], forced["moved_fen"]) == (str(price["commits"]), str(price["moved_fen"]))
