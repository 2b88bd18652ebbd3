"""Partner banks, joint loans and fake banks as the tests of funding write them down."""

import asyncio
import contextlib
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from core_app.core import LendingCore
from core_app.funding.channel import Fate
from core_app.funding.fake_bank import FakeBankChannel
from core_app.funding.funder import Funder
from core_app.funding.publish import Parts, deal_to_cells, publish_funder
from runbooks.stand.fake_bank import read_book
from tests.integration.core_app.lending import confirm, register

JOINT = "joint-instalment"
ROOT = Path(__file__).parent.parent.parent.parent
_UP_SECONDS = 10.0


def make_partner(name: str, quota: dict[str, int], **changes: Any) -> Funder:
    plain = {
        "id": name,
        "version": 1,
        "name": {"zh": "合作银行", "en": "Partner bank"},
        "fills": ["partner_bank"],
        "cost_annual": "0.045",
        "speed_s": 10,
        "per_loan_max_fen": 10_000_000,
        "share_min": "0.30",
        "share_max": "0.90",
        "quota": quota,
    }
    return Funder.model_validate(plain | changes)


async def publish(core: LendingCore, funder: Funder) -> dict[str, Parts]:
    """Make a funder known to every cell and deal its quota, as `biyi funder set` does."""
    for cell in core.router.cells:
        key = f"funder-{funder.id}-{funder.version}"
        await publish_funder(core, cell, key, funder)
    return await deal_to_cells(core, funder, uuid.uuid4().hex)


async def sign_joint(client: Any, amount_fen: int = 1_200_000) -> str:
    """Return the id of a signed joint contract of a new customer."""
    wish = {
        "customer_id": await register(client),
        "product": JOINT,
        "amount_fen": amount_fen,
        "periods": 12,
    }
    status, decided, _ = await client.post("/v1/applications", wish)
    assert (status, decided["decision"]) == (201, "approved")
    status, contract, _ = await client.post("/v1/contracts", confirm(decided))
    assert status == 201
    return str(contract["contract_id"])


async def draw_contract(client: Any, contract_id: str) -> tuple[int, Any, Any]:
    found: tuple[int, Any, Any] = await client.post("/v1/draws", {"contract_id": contract_id})
    return found


@dataclass(slots=True)
class Bank:
    """A fake bank in a process of its own; its book stays when it is killed."""

    name: str
    port: int
    book: Path
    session: aiohttp.ClientSession
    answer_s: float
    process: subprocess.Popen[bytes] | None = field(default=None)
    path: str = "/v1/payments"

    @property
    def channel(self) -> FakeBankChannel:
        return FakeBankChannel(
            self.name, f"http://127.0.0.1:{self.port}", self.session, self.answer_s, path=self.path
        )

    async def start(self) -> None:
        command = [sys.executable, "-m", "runbooks.stand.fake_bank", "--book", str(self.book)]
        self.process = subprocess.Popen([*command, "--port", str(self.port)], cwd=ROOT)
        end = time.monotonic() + _UP_SECONDS
        while (await self.channel.query("P000-0")).fate is not Fate.NOT_FOUND:
            assert time.monotonic() < end, f"{self.name} does not answer"
            await asyncio.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.wait(10)
            self.process = None

    async def break_down(self, mode: str) -> None:
        url = f"http://127.0.0.1:{self.port}/v1/fault"
        async with self.session.post(url, json={"mode": mode}) as answer:
            assert answer.status == 200

    def payments(self) -> dict[str, int]:
        return {line["order_id"]: line["amount_fen"] for line in read_book(self.book)}


@contextlib.asynccontextmanager
async def running_banks(folder: Path, answer_s: float, *names: str) -> AsyncIterator[tuple[Bank, ...]]:
    async with aiohttp.ClientSession() as session:
        banks = tuple(
            Bank(name, _free_port(), folder / f"{name}.sqlite", session, answer_s) for name in names
        )
        try:
            await asyncio.gather(*(bank.start() for bank in banks))
            yield banks
        finally:
            for bank in banks:
                bank.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_seconds(seconds: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
