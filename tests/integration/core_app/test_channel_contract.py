"""What `core_app.funding.channel` promises of a channel; a real bank's adapter has to pass the same."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core_app.funding.channel import Fate, Payment
from core_app.funding.fake_bank import DEBITS
from tests.integration.core_app.partners import Bank, in_seconds, running_banks


@pytest.fixture(params=["/v1/payments", DEBITS], ids=["payouts", "debits"])
async def bank(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bank]:
    async with running_banks(tmp_path, 0.5, "bank_a") as (only,):
        only.path = request.param
        yield only


def payment(valid_s: float = 5.0, order_id: str | None = None) -> Payment:
    return Payment(order_id or f"P000-{uuid.uuid4().hex}", 1_000, "borrower", "C0", in_seconds(valid_s))


async def test_a_number_is_booked_once_however_often_it_is_brought(bank: Bank) -> None:
    order = payment()
    fates = {said.fate for said in await asyncio.gather(*(bank.channel.pay(order) for _ in range(10)))}
    assert fates == {Fate.PAID}
    assert (await bank.channel.query(order.order_id)).fate is Fate.PAID
    assert bank.payments() == {order.order_id: 1_000}


async def test_an_order_that_comes_after_its_time_is_not_booked_then_or_later(bank: Bank) -> None:
    order = payment(valid_s=-0.1)
    assert (await bank.channel.pay(order)).fate is Fate.NOT_TAKEN
    said = await bank.channel.query(order.order_id)
    assert said.fate is Fate.NOT_FOUND
    assert said.as_of is not None
    assert said.as_of > order.valid_until
    assert bank.payments() == {}


@pytest.mark.parametrize(
    ("mode", "booked"),
    [("cut_before", False), ("cut_after", True), ("hang_before", False), ("hang_after", True)],
)
async def test_no_answer_is_unknown_and_the_truth_is_told_when_asked(
    bank: Bank, mode: str, booked: bool
) -> None:
    order = payment()
    await bank.break_down(mode)
    assert (await bank.channel.pay(order)).fate is Fate.UNKNOWN
    await bank.break_down("none")
    assert (await bank.channel.query(order.order_id)).fate is (Fate.PAID if booked else Fate.NOT_FOUND)


async def test_a_request_that_is_held_back_is_not_found_first_and_paid_then(bank: Bank) -> None:
    order = payment()
    await bank.break_down("cut_then_book")
    assert (await bank.channel.pay(order)).fate is Fate.UNKNOWN
    said = await bank.channel.query(order.order_id)
    assert said.fate is Fate.NOT_FOUND
    assert said.as_of is not None
    assert said.as_of < order.valid_until, "so nothing may be concluded from it"
    await asyncio.sleep(0.4)
    assert (await bank.channel.query(order.order_id)).fate is Fate.PAID


async def test_what_was_answered_survives_a_kill_and_a_dead_channel_takes_nothing(bank: Bank) -> None:
    order, refused, late = payment(), payment(), payment()
    assert (await bank.channel.pay(order)).fate is Fate.PAID
    await bank.break_down("refuse")
    assert (await bank.channel.pay(refused)).fate is Fate.REFUSED
    bank.end()
    # A connection that was kept open may still take the request with it into the grave.
    assert (await bank.channel.pay(late)).fate in (Fate.UNKNOWN, Fate.NOT_TAKEN)
    assert (await bank.channel.pay(late)).fate is Fate.NOT_TAKEN
    assert (await bank.channel.query(order.order_id)).fate is Fate.UNKNOWN
    await bank.start()
    found = [(await bank.channel.query(one.order_id)).fate for one in (order, refused, late)]
    assert found == [Fate.PAID, Fate.REFUSED, Fate.NOT_FOUND]
    assert (await bank.channel.pay(refused)).fate is Fate.REFUSED
