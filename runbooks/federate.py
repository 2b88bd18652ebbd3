"""One card fitted at a bank and at the platform, by sums over mutual TLS: starts the bank and asks it."""

import asyncio
import contextlib
import datetime as dt
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from core_app.decisions.training.federated import HouseRefused, Wire, compare_houses
from core_app.decisions.training.house import House
from replication.model import Site
from replication.tls import OPERATOR, open_identity
from runbooks.stand.certificates import ensure_certificates, tls_dir
from runbooks.stand.ports import BANKS, OUTSIDE

BANK = BANKS[0]
"""Whose certificate the other house presents: a partner's, of another authority than ours."""
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Door:
    """Where the bank's process listens, and the directories of certificates of both sides."""

    url: str
    home: Path


@contextlib.asynccontextmanager
async def open_bank(house: House, home: Path) -> AsyncIterator[Door]:
    """Start the bank's process with certificates made in `home`; end it with the block."""
    ensure_certificates(home, dt.datetime.now(dt.UTC))  # noqa: TID251 - a shell
    where = (
        "--seed", str(house.seed), "--rows", str(house.rows), "--first", str(house.first),
        "--tls", str(tls_dir(home, OUTSIDE)), "--name", BANK,
    )  # fmt: skip
    bank = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "core_app.decisions.training.house", *where, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert bank.stdout is not None  # noqa: S101 - it was asked for
        said = await asyncio.wait_for(bank.stdout.readline(), _START_S)
        if not said:
            raise HouseRefused("bank: its process did not start; what it wrote stands above")
        yield Door(f"https://127.0.0.1:{json.loads(said)['port']}", home)
    finally:
        with contextlib.suppress(ProcessLookupError):
            bank.terminate()
        await bank.wait()


async def federate(seed: int, rows: int) -> dict[str, Any]:
    """Fit at both houses and compare; HouseRefused when one gives nothing."""
    platform, bank = House(seed, rows, 0), House(seed, rows, 1)
    with tempfile.TemporaryDirectory(prefix="biyi-federate-") as home:
        async with (
            open_bank(bank, Path(home)) as door,
            open_identity(tls_dir(Path(home), str(Site.IDC)), OPERATOR) as identity,
            aiohttp.ClientSession() as session,
        ):
            return await compare_houses(platform, bank, Wire(session, door.url, identity.to_partner(BANK)))
