"""`FakeBankChannel`: a payment or debit channel that speaks to the stand's fake bank over HTTP.

A real bank's adapter stands beside it and has to pass the same contract test
(tests/integration/core_app/test_channel_contract.py).
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import aiohttp

from core_app.funding.channel import Fate, Payment, Said
from replication.tls import Tls

_FATES = {"paid": Fate.PAID, "refused": Fate.REFUSED, "expired": Fate.NOT_TAKEN, "not_found": Fate.NOT_FOUND}


PAYMENTS = "/v1/payments"
DEBITS = "/v1/debits"


@dataclass(frozen=True, slots=True)
class FakeBankChannel:
    """One fake bank at `url`; every call ends within `answer_s`. Under the path DEBITS it collects."""

    name: str
    url: str
    session: aiohttp.ClientSession
    answer_s: float
    tls: Tls = True
    path: str = PAYMENTS

    async def pay(self, payment: Payment) -> Said:
        """Ask for the payment; only a connection that was never made proves that nothing was sent."""
        body = {
            "order_id": payment.order_id,
            "amount_fen": payment.amount_fen,
            "payee_kind": payment.payee_kind,
            "payee": payment.payee,
            "valid_until": payment.valid_until.isoformat(),
        }
        return await self._call("POST", self.path, body)

    async def query(self, order_id: str) -> Said:
        """Ask what became of an order."""
        return await self._call("GET", f"{self.path}/{order_id}", None)

    async def fetch_clearing(self, day: dt.date) -> str:
        """Return the bank's file of a day, as `core_app.funding.clearing` reads it."""
        timeout = aiohttp.ClientTimeout(total=self.answer_s)
        url = f"{self.url}{self.path}/clearing/{day.isoformat()}"
        try:
            async with self.session.get(url, timeout=timeout, ssl=self.tls) as answer:
                answer.raise_for_status()
                return await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"{self.name}: no clearing file ({type(error).__name__})") from error

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Said:
        timeout = aiohttp.ClientTimeout(total=self.answer_s)
        try:
            async with self.session.request(
                method, self.url + path, json=body, timeout=timeout, ssl=self.tls
            ) as answer:
                plain = await answer.json()
                as_of = dt.datetime.fromisoformat(plain["as_of"])
                return Said(_FATES[plain["fate"]], plain.get("note", ""), as_of)
        except aiohttp.ClientConnectorError as error:
            fate = Fate.NOT_TAKEN if method == "POST" else Fate.UNKNOWN
            return Said(fate, type(error).__name__)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
            return Said(Fate.UNKNOWN, type(error).__name__)
