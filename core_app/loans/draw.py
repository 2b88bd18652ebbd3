"""Draws: one or several in one transaction, each answered, refused or paid out for itself.

Contracts are locked, then keys are looked up, then what is neither refused nor done before is written with
its key: who is refused leaves no row and hinders nobody. Contracts are signed in `contract.py`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from core_app.commands import Answer, Command, Done, ask_earlier, fetch_earlier
from core_app.core import Connection, LendingCore
from core_app.errors import Refused, refuse_conflict, refuse_field
from core_app.funding.route import Routed
from core_app.funding.service import (
    Draw,
    Payee,
    choose_funders,
    funding_columns,
    is_joint,
    lock_every_offer,
    plan_draw,
    reserve_quotas,
)
from core_app.ids import Letter, slot_of_id
from core_app.ledger.posting import Entry, entry_columns
from core_app.limits.hold import check_draw
from core_app.loans import store
from core_app.loans.book import as_json
from core_app.loans.draw_store import LOCK, READ, WRITE, ContractRow, read_contract
from core_app.loans.loan import make_loan, plan_columns, show_loan_row
from core_app.loans.merchant import Merchant, check_payee
from core_app.loans.schedule import Plan, Terms
from core_app.loans.terms import is_anytime, plan_loan
from core_app.loans.together import Outcome, Outcomes, write_together
from core_app.products.model import Product
from core_app.products.published import find_version
from core_app.router import CellUnavailable
from core_app.slots import chunk_of_slot, join_homes


@dataclass(frozen=True, slots=True)
class DrawWish:
    """What is drawn: of which contract, how much (None: all of it), paid to which merchant if any."""

    contract_id: str
    amount_fen: int | None = None
    merchant: Merchant | None = None


@dataclass(frozen=True, slots=True)
class WantedDraw:
    """A draw that is asked for, of a contract whose id has a cell."""

    command: Command
    wish: DrawWish
    cell: str
    slot: int

    @property
    def key(self) -> str:
        """Return the command's key."""
        return self.command.key

    @property
    def names(self) -> tuple[str, ...]:
        """Return the key, the contract and the merchant's order: no two of a group may share one."""
        merchant = self.wish.merchant
        order = (f"order {merchant.order_id} of {merchant.merchant_id}",) if merchant else ()
        return (self.command.key, self.wish.contract_id, *order)


def want_draw(core: LendingCore, command: Command, wish: DrawWish) -> WantedDraw:
    """Return what is asked for; Refused (422) when the id is no contract's."""
    slot = slot_of_id(Letter.CONTRACT, wish.contract_id)
    cell = core.cell_of_id(Letter.CONTRACT, wish.contract_id)
    if slot is None or cell is None:
        raise refuse_field("body.contract_id", "no contract id", "the id of a contract")
    return WantedDraw(command, wish, cell, slot)


async def draw_loan(core: LendingCore, command: Command, wish: DrawWish) -> Done:
    """Pay out a contract's whole amount, once; under a line a part of it, as often as there is room.

    The loan's plan is dated from this day. Refused (422, 409) when the contract does not allow it.
    """
    (outcome,) = await post_draws(core, [want_draw(core, command, wish)], core.deadline_seconds)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def post_draws(core: LendingCore, wanted: Sequence[WantedDraw], seconds: float) -> list[Outcome]:
    """Post draws of one cell, each customer's one after the other; return what became of each, in order.

    No two may share a name. What the router raises holds for all of them, unless some were committed by then.
    """
    cell = join_homes([one.cell for one in wanted])
    ends, outcomes = time.monotonic() + seconds, dict[str, Outcome]()
    while left := [one for one in wanted if one.key not in outcomes]:
        try:
            work = partial(_post, core, left)
            found = await write_together(core, cell, work, max(ends - time.monotonic(), 0.001))
        except CellUnavailable as error:
            if not outcomes:
                raise
            outcomes |= {one.key: error for one in left}
        else:
            outcomes |= {
                key: one if isinstance(one, Refused) else Done(cell, one) for key, one in found.items()
            }
    return [outcomes[one.key] for one in wanted]


async def _post(
    core: LendingCore, wanted: Sequence[WantedDraw], connection: Connection, epoch: int
) -> Outcomes:
    """Lock, look up, read, decide and write: the first draw of each customer, two round trips.

    A joint loan takes two more, to choose its funders. The outcomes of the others are missing.
    """
    commands = [one.command for one in wanted]
    values = _columns_to_read(wanted)
    await connection.execute(LOCK, [values["contracts"], values["chunks"], values["today"]])
    asked_earlier = await ask_earlier(connection, commands)
    asked = await connection.execute(READ, values)
    outcomes: Outcomes = await fetch_earlier(asked_earlier, commands)
    contracts = {row.contract_id: row for row in map(read_contract, await asked.fetchall())}
    rows: dict[str, dict[str, Any]] = {}
    locked_all = len(wanted) == 1
    for one in wanted:
        contract = contracts.get(one.wish.contract_id)
        if one.key in outcomes or (contract is not None and contract.customer_id in rows):
            continue
        try:
            checked = await _check(core, connection, one, contract)
            if is_joint(checked.product) and not locked_all:
                await lock_every_offer(connection, checked.contract.today)
                locked_all = True
            row = await _plan(core, connection, one, checked, epoch)
        except Refused as why:
            outcomes[one.key] = why
        else:
            rows[checked.contract.customer_id] = row
            outcomes[one.key] = Answer(201, row["response"], epoch, replayed=False)
    if rows:
        await connection.execute(WRITE, {"rows": as_json(list(rows.values()))})
    return outcomes


def _columns_to_read(wanted: Sequence[WantedDraw]) -> dict[str, Any]:
    merchants = [one.wish.merchant for one in wanted]
    return {
        "contracts": [one.wish.contract_id for one in wanted],
        "chunks": [chunk_of_slot(one.slot) for one in wanted],
        "merchants": [merchant.merchant_id if merchant else None for merchant in merchants],
        "orders": [merchant.order_id if merchant else None for merchant in merchants],
        "today": wanted[0].command.today,
    }


@dataclass(frozen=True, slots=True)
class _Checked:
    contract: ContractRow
    product: Product
    amount_fen: int


async def _check(
    core: LendingCore, connection: Connection, wanted: WantedDraw, contract: ContractRow | None
) -> _Checked:
    """Return what may be drawn of a locked contract; Refused when nothing may."""
    if contract is None:
        raise refuse_field("body.contract_id", "no such contract", "a signed contract")
    if contract.status != "signed":
        raise refuse_conflict(
            "body.contract_id", f"a contract that is {contract.status}", "a contract not yet drawn"
        )
    product = await find_version(core, connection, contract.product, contract.product_version)
    amount_fen = _check_amount(product, contract, wanted.wish)
    check_payee(product, wanted.wish.merchant)
    check_draw(product, contract, amount_fen)
    if contract.order_paid:
        raise refuse_conflict("body.merchant.order_id", "an order that was paid", "another order")
    return _Checked(contract, product, amount_fen)


def _check_amount(product: Product, contract: ContractRow, wish: DrawWish) -> int:
    """Return how much is drawn, in fen; Refused when the contract has no room for it."""
    if not is_anytime(product):
        if wish.amount_fen not in (None, contract.amount_fen):
            raise refuse_field("body.amount_fen", str(wish.amount_fen), f"{contract.amount_fen}, all of it")
        return contract.amount_fen
    if wish.amount_fen is None:
        raise refuse_field("body.amount_fen", "nothing", "the amount to draw under the line")
    if wish.amount_fen < product.limits.draw_min_fen:
        needed = f"{product.limits.draw_min_fen} or more"
        raise refuse_field("body.amount_fen", str(wish.amount_fen), needed)
    if contract.valid_to >= contract.today and wish.amount_fen > contract.reserved_fen:
        found, needed = str(wish.amount_fen), f"at most {contract.reserved_fen}, left of the line"
        raise refuse_conflict("body.amount_fen", found, needed)
    return wish.amount_fen


async def _plan(
    core: LendingCore, connection: Connection, wanted: WantedDraw, checked: _Checked, epoch: int
) -> dict[str, Any]:
    """Return the row to write for one draw; Refused when nobody funds it. Its `response` is the answer."""
    contract, product, amount_fen = checked.contract, checked.product, checked.amount_fen
    plan = plan_loan(product, Terms(amount_fen, contract.rate_annual, contract.periods), contract.today)
    routed = await choose_funders(connection, product, amount_fen, contract.today)
    loan_id = core.new_id(Letter.LOAN, wanted.slot)
    loan = {"loan_id": loan_id, "contract_id": contract.contract_id, "customer_id": contract.customer_id}
    columns = _draw_columns(contract, product, plan, plan_draw(routed.stakes))
    funded = _fund(wanted, checked, routed, (loan_id, columns["interest_fen"]))
    await reserve_quotas(connection, routed, contract.today)
    drawn = make_loan(loan_id, store.new_row(loan | columns), product, len(plan) + 1)
    body = loan | {
        "balance_fen": amount_fen,
        "outstanding_fen": drawn.outstanding_fen,
        "next_due": plan[0].due.isoformat(),
    }
    merchant = wanted.wish.merchant
    return (
        loan
        | columns
        | funded
        | {
            "key": wanted.key,
            "digest": wanted.command.digest.hex(),
            "epoch": epoch,
            "site": core.site,
            "amount_fen": amount_fen,
            "merchant_id": merchant.merchant_id if merchant else None,
            "merchant_kind": merchant.kind if merchant else None,
            "order_id": merchant.order_id if merchant else None,
            "response": body,
            "payload": body | {"product": contract.product, "loan": show_loan_row(drawn)},
        }
    )


def _fund(wanted: WantedDraw, checked: _Checked, routed: Routed, loan: tuple[str, int]) -> dict[str, Any]:
    loan_id, interest_fen = loan
    merchant = wanted.wish.merchant
    payee = Payee("borrower", checked.contract.customer_id)
    if merchant is not None:
        payee = Payee("merchant", merchant.merchant_id)
    return funding_columns(Draw(loan_id, checked.product, interest_fen, payee), routed)


def _draw_columns(
    contract: ContractRow, product: Product, plan: Plan, entries: tuple[Entry, ...]
) -> dict[str, Any]:
    principal_fen = sum(instalment.principal_fen for instalment in plan)
    anytime = is_anytime(product)
    booked = entry_columns(entries)
    return plan_columns(plan, contract.today) | {
        "product": contract.product,
        "product_version": contract.product_version,
        "rate_annual": contract.rate_annual,
        "anytime": anytime,
        "interest_to": contract.today if anytime else None,
        "day": contract.today,
        "principal_fen": principal_fen,
        "interest_fen": sum(instalment.interest_fen for instalment in plan),
        "fee_fen": sum(instalment.fee_fen for instalment in plan),
        "accounts": booked["accounts"],
        "amounts": booked["amounts"],
        "entry_funders": booked["funders"],
    }
