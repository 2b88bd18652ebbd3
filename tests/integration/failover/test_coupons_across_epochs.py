"""Coupons while the primary is lost between its locks and the commit, and while their cell moves.

Each coupon is used once or may still be used, never twice, never neither; what was acknowledged is there.
"""

import asyncio
import contextlib
import datetime as dt
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core_app.commands import make_command
from core_app.core import Connection, LendingCore
from core_app.router import Router
from core_app.servicing.coupon_desk import Issue, issue_coupon
from replication.model import Site
from replication.tls import calling, public_tls
from runbooks.drills.arrivals import make_person
from runbooks.drills.customer import Customers, Request, Settled
from runbooks.lending_core import open_core
from runbooks.stand.home import UpOptions
from runbooks.stand.sites import kill_site
from runbooks.stand.up import down, up
from runbooks.tokens import channel_token
from tests.integration.core_app.lending import confirm
from tests.integration.core_app.versions import publish_change
from tests.integration.failover.town import biyi, entrances_of, is_healthy, settings_of, wait_for_grants

pytestmark = pytest.mark.slow  # a whole stand, a site of it lost and brought back

AMOUNT_FEN, REPAID_FEN, DISCOUNT_FEN = 600_000, 55_000, 5_000
COUPONS_USED, PAUSE_S = 24, 0.25
"""How many are used while the cell moves twice, and how often: it takes longer than both moves."""
WAITING = """
select count(*) from pg_locks l where not l.granted and l.locktype in ('relation', 'tuple', 'transactionid')
"""
COUPONS = """
select c.coupon_id, c.used_by, r.repayment_id,
       (select count(*) filter (where e.what = 'used') - count(*) filter (where e.what = 'given_back')
        from core.coupon_events e where e.coupon_id = c.coupon_id)
from core.coupons c left join core.repayments r on r.repayment_id = c.used_by
"""
COST = "select coalesce(sum(amount_fen), 0)::bigint from core.entries where account = '6601'"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("coupons")
    try:
        asyncio.run(up(made, UpOptions(backups=False)))
        yield made
    finally:
        down(made)


class Shop:
    """Customers of cell a with loans and coupons, at both entrances of a stand."""

    def __init__(self, home: Path, core: LendingCore, customers: Customers) -> None:
        self.home, self.core, self._customers = home, core, customers
        self._token, self._number = secrets.token_hex(4), 0

    async def post(self, path: str, body: dict[str, Any], key: str = "") -> Settled:
        request = Request("POST", path, key or f"shop-{secrets.token_hex(12)}", body)
        return await self._customers.settle(request, str(Site.IDC), 30.0)

    async def register(self) -> str:
        """Return a new customer of cell a."""
        while True:
            self._number += 1
            person = make_person(self._token, self._number)
            body = {"name": person.name, "id_number": person.id_number, "phone": person.phone}
            done = await self.post("/v1/customers", body)
            if done.cell == "a":
                return str(done.answer["customer_id"])

    async def lend(self, customer_id: str) -> str:
        wish = {
            "customer_id": customer_id,
            "product": "instalment-12",
            "amount_fen": AMOUNT_FEN,
            "periods": 12,
        }
        decided = (await self.post("/v1/applications", wish | {"bureau_authorisation": "auth-0001"})).answer
        contract = (await self.post("/v1/contracts", confirm(decided))).answer
        drawn = await self.post("/v1/draws", {"contract_id": contract["contract_id"]})
        assert drawn.status == 201, drawn
        return str(drawn.answer["loan_id"])

    async def issue(self, customer_id: str) -> str:
        """Return a new coupon, issued as the desk does once two people agreed."""
        today = self.core.read_today()
        wish = Issue(customer_id, "fifty_off", None, today + dt.timedelta(days=30), "test", "li.wei")
        key = f"issue-{secrets.token_hex(12)}"
        command = make_command(self.core, key, "coupon", {"customer": customer_id})
        return str((await issue_coupon(self.core, command, wish)).answer.body["coupon_id"])

    async def stock(self) -> tuple[list[str], str]:
        """Return two loans of a new customer, and a coupon for one of them."""
        customer_id = await self.register()
        return [await self.lend(customer_id) for _ in range(2)], await self.issue(customer_id)

    async def use(self, loan_id: str, coupon_id: str, key: str = "") -> Settled:
        body = {"loan_id": loan_id, "amount_fen": REPAID_FEN, "coupon_id": coupon_id}
        return await self.post("/v1/repayments", body, key)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async def work(connection: Connection, _: int) -> list[tuple[Any, ...]]:
            return await (await connection.execute(query.encode())).fetchall()

        return (await self.core.router.read("a", work, deadline_seconds=30)).value

    async def check(self, issued: set[str]) -> dict[str, str | None]:
        """Return each coupon's repayment; every one is there, used once with a repayment or not at all."""
        found = await self.rows(COUPONS)
        assert {row[0] for row in found} >= issued, "a coupon was lost"
        for coupon_id, used_by, repayment_id, uses in found:
            assert used_by == repayment_id, "used by a repayment that there is not"
            assert uses == (used_by is not None), coupon_id
        [(booked_fen,)] = await self.rows(COST)
        assert booked_fen == DISCOUNT_FEN * sum(used_by is not None for _, used_by, *_ in found)
        return {coupon_id: used_by for coupon_id, used_by, *_ in found}


@contextlib.asynccontextmanager
async def open_shop(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setenv("BIYI_HOME", str(home))
    settings = settings_of(home, Site.CLOUD)
    tls, token = public_tls(settings.tls_dir), channel_token(settings)
    async with (
        Customers(entrances_of(home), tls=tls, token=token) as customers,
        open_core() as core,
        Router.start(settings, tls=calling(settings.tls_dir, "etcd")) as router,
    ):
        core = replace(core, router=router)  # of the site that is not lost
        await publish_change(core, servicing={"coupons": ["fifty_off"]})
        yield Shop(home, core, customers)


def connect_admin(home: Path) -> psycopg.Connection[Any]:
    settings = settings_of(home, Site.IDC)
    place = settings.place("a-idc-0")
    return psycopg.connect(
        host=place.host, port=place.port, user="biyi_admin", dbname="biyi",
        passfile=str(settings.passfile), autocommit=True,
    )  # fmt: skip


async def test_a_primary_lost_between_lock_and_commit_leaves_a_coupon_used_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await wait_for_grants(home, is_healthy)
    async with open_shop(home, monkeypatch) as shop:
        customer_id = await shop.register()
        loans = [await shop.lend(customer_id) for _ in range(2)]
        coupon_id = await shop.issue(customer_id)
        keys = [f"use-{secrets.token_hex(12)}" for _ in loans]
        # What is used is written last: whoever has the coupon's row stands between its locks and the commit.
        with connect_admin(home) as holder, connect_admin(home) as looker:
            holder.execute("begin")
            holder.execute("lock table core.coupon_events in exclusive mode")
            pairs = zip(loans, keys, strict=True)
            uses = [asyncio.create_task(shop.use(loan, coupon_id, key)) for loan, key in pairs]
            until = time.monotonic() + 10
            while looker.execute(WAITING).fetchone() != (2,):
                assert time.monotonic() < until, "no request came between lock and commit"
                await asyncio.sleep(0.02)
            assert looker.execute("select count(*) from core.repayments").fetchone() == (0,)
            kill_site(home, Site.IDC)
            holder.close()
            looker.close()
        settled = await asyncio.gather(*uses)
        assert sorted(one.status for one in settled) == [201, 409], settled
        after = await wait_for_grants(home, lambda grants: grants["a"].epoch > before["a"].epoch)
        assert after["a"].primary.site is Site.CLOUD
        [paid] = [one for one in settled if one.status == 201]
        assert paid.epoch > before["a"].epoch, "nothing of it was committed before"
        used_by = (await shop.check({coupon_id}))[coupon_id]
        assert used_by == paid.answer["repayment_id"]
        again = await shop.use(loans[settled.index(paid)], coupon_id, keys[settled.index(paid)])
        assert (again.status, again.replayed, again.answer) == (201, True, paid.answer)
        await asyncio.to_thread(asyncio.run, up(home, UpOptions(backups=False)))
        await wait_for_grants(home, is_healthy)
        assert (await shop.check({coupon_id}))[coupon_id] == used_by


async def test_coupons_are_used_once_each_while_their_cell_moves_away_and_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await wait_for_grants(home, is_healthy)
    async with open_shop(home, monkeypatch) as shop:
        stock = [await shop.stock() for _ in range(COUPONS_USED)]
        acknowledged: dict[str, str] = {}
        epochs: set[int] = set()

        async def use_one(loans: list[str], coupon_id: str) -> None:
            both = await asyncio.gather(*(shop.use(loan, coupon_id) for loan in loans))
            assert sorted(one.status for one in both) == [201, 409], both
            [paid] = [one for one in both if one.status == 201]
            acknowledged[coupon_id] = str(paid.answer["repayment_id"])
            epochs.add(paid.epoch)

        async def move_there_and_back() -> None:
            for site in ("cloud", "idc"):
                moved = await asyncio.to_thread(biyi, home, "move", "a", "--to", site)
                assert moved.returncode == 0, moved.stderr + moved.stdout

        moving = asyncio.create_task(move_there_and_back())
        uses = []
        for loans, coupon_id in stock:
            uses.append(asyncio.create_task(use_one(loans, coupon_id)))
            await asyncio.sleep(PAUSE_S)
        await asyncio.gather(moving, *uses)
        used_by = await shop.check(set(acknowledged))
        assert acknowledged == {coupon_id: used_by[coupon_id] for _, coupon_id in stock}
        grants = await wait_for_grants(home, is_healthy)
        assert grants["a"].epoch == before["a"].epoch + 2
        assert len(epochs) >= 2, f"all were used in epoch {epochs}: that could not tell"
