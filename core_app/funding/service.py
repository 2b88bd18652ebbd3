"""The part of a draw and of a repayment that is about whose money it is. Runs inside their transactions.

Quotas are kept at READ COMMITTED, on purpose. The choice is made from unlocked rows, then the chosen rows
are locked in the order of their names and the choice is made again with them: what is decided on can no
longer change, and two draws wait only where they take from the same funder, for one commit. A check
constraint stands behind it. SERIALIZABLE would abort most of such draws instead of queueing them.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncCursor

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import FieldProblem, Kind, Refused, refuse_conflict, refuse_field
from core_app.funding import store
from core_app.funding.route import Need, Party, Routed, Stake, Why, route
from core_app.funding.shares import FeesPaid, Paid, Share, own_part, plan_collected
from core_app.ids import Letter, payout_id, slot_of_id
from core_app.ledger.posting import OWN, Entry, Event, entry_columns, plan_funded_entries, reverse_entries
from core_app.limits.hold import release
from core_app.loans.allocation import Allocation
from core_app.loans.fees import NO_LOAN_FEES, LoanFees
from core_app.loans.loan import Row, show_loan_row
from core_app.loans.reading import ask_unlocked, fetch_loan
from core_app.loans.split import split_amounts
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.slots import chunk_of_slot


@dataclass(frozen=True, slots=True)
class Payee:
    """Who is paid: the borrower by customer id, or a merchant by its id on the borrower's order."""

    kind: str
    payee: str


@dataclass(frozen=True, slots=True)
class Draw:
    """A draw that needs money: what the funding part of its transaction has to know of it."""

    loan_id: str
    product: Product
    interest_fen: int
    payee: Payee


async def choose_funders(connection: Connection, product: Product, amount_fen: int, day: dt.date) -> Routed:
    """Return who funds the loan, their quota rows locked; Refused (409) when a party has nobody.

    Costs no round trip for a loan of our own money, two for a joint one. A third and more only while the
    last of a quota goes elsewhere between the two; each takes another row, so they come to an end.
    """
    parties = tuple(Party(party.funder, party.share, party.lead) for party in product.funding.parties)
    need = Need(
        product.id,
        product.identity.regions,
        amount_fen,
        parties,
        product.funding.rank_by,
        product.funding.cost_max_annual,
    )
    if all(party.name == OWN for party in parties):
        return route(need, ())
    offers = await store.select_offers(connection, day)
    locked: dict[str, Any] = {}
    while True:
        routed = route(need, (offers | locked).values())
        if not routed.stakes:
            raise _refuse_unfunded(routed)
        wanted = {stake.funder for stake in routed.stakes} - {OWN}
        if wanted <= locked.keys():
            return routed
        locked |= await store.lock_offers(connection, day, wanted - locked.keys())


def _refuse_unfunded(routed: Routed) -> Refused:
    reasons = [f"{one.funder}: {one.why}" for one in routed.passed_over if one.why is not Why.RANKED]
    found = "; ".join(reasons) or "no funder is known here; `biyi funder set` makes one known"
    problem = FieldProblem("funding.parties", found, "a funder for every party of the product")
    return Refused(Kind.CONFLICT, f"Nobody funds this loan now: {found}", problem)


def plan_draw(stakes: tuple[Stake, ...]) -> tuple[Entry, ...]:
    """Return the entries of a draw, each funder's balanced by themselves."""
    return plan_funded_entries(
        Event.DRAW, {stake.funder: {"principal": stake.principal_fen} for stake in stakes}
    )


def funding_columns(draw: Draw, routed: Routed) -> dict[str, Any]:
    """Return what a draw writes of who funds it and of its payout."""
    stakes = routed.stakes
    interests = split_amounts([draw.interest_fen], [stake.share for stake in stakes])
    return {
        "funders": [stake.funder for stake in stakes],
        "versions": [stake.version for stake in stakes],
        "shares": [stake.share for stake in stakes],
        "funder_principals": [stake.principal_fen for stake in stakes],
        "funder_interests": [part for (part,) in interests],
        "settle_in_days": draw.product.funding.settlement_days,
        "passed_over": routed.plain_passed_over(),
        "payout_id": payout_id(draw.loan_id),
        "payee_kind": draw.payee.kind,
        "payee": draw.payee.payee,
        "kinds": list(draw.product.channels.pay_out_channels),
        "patience": f"{draw.product.funding.reserve_minutes} minutes",
    }


async def reserve_quotas(connection: Connection, routed: Routed, day: dt.date) -> None:
    """Take a draw from the quotas of its funders, whose rows are locked; costs no round trip."""
    stakes = [stake for stake in routed.stakes if stake.funder != OWN]
    if stakes:
        values = {
            "funders": [stake.funder for stake in stakes],
            "principals": [stake.principal_fen for stake in stakes],
            "day": day,
        }
        await connection.execute(store.RESERVE, values)


def is_joint(product: Product) -> bool:
    """Say whether others than we fund its loans."""
    return any(party.funder != OWN for party in product.funding.parties)


async def lock_every_offer(connection: Connection, day: dt.date) -> None:
    """Lock every funder's quota, in the order of their names: for a group, whose draws take several.

    One after the other they would be taken in the order of the draws, and two groups lock each other out.
    """
    offers = await store.select_offers(connection, day)
    await store.lock_offers(connection, day, offers)


@dataclass(frozen=True, slots=True)
class LoanShares:
    """Who funds a loan, and the totals paid on it when its row was locked."""

    shares: tuple[Share, ...]
    paid: Paid
    fees: LoanFees = NO_LOAN_FEES

    def plan(self, event: Event, split: Allocation, prepayment_fee_fen: int = 0) -> tuple[Entry, ...]:
        """Return the entries of what collects `split`, by funder; constant cost, whatever the history.

        The fee for prepaying is ours.
        """
        return self._collect(event, self.paid, add_paid(self.paid, split, 1), prepayment_fee_fen)

    def _collect(
        self, event: Event, before: Paid, after: Paid, prepayment_fee_fen: int = 0
    ) -> tuple[Entry, ...]:
        own_fen, payee_fen = self.fees.split_paid(before.fee_fen, after.fee_fen)
        fees = FeesPaid(own_fen + prepayment_fee_fen, payee_fen)
        return plan_collected(event, self.shares, before, after, fees)

    def plan_corrections(
        self, splits: Sequence[tuple[Allocation | None, Allocation | None]]
    ) -> tuple[tuple[Entry, ...], ...]:
        """Return the entries of each split that becomes another: all are taken back first, then booked anew.

        So no total falls below what other repayments paid, and each funder has in the end what the new
        totals give it.
        """
        paid, taken = self.paid, []
        for was, _ in splits:
            less = add_paid(paid, was, -1) if was else paid
            taken.append(reverse_entries(self._collect(Event.REPAYMENT, less, paid)))
            paid = less
        booked = []
        for _, becomes in splits:
            more = add_paid(paid, becomes, 1) if becomes else paid
            booked.append(self._collect(Event.REPAYMENT, paid, more))
            paid = more
        return tuple(back + anew for back, anew in zip(taken, booked, strict=True))

    def own_principal_left(self, principal_fen: int) -> int:
        """Return our own part of what is open of a loan's whole principal."""
        paid_fen = own_part(self.paid.principal_fen, self.shares)
        return own_part(principal_fen, self.shares) - paid_fen


def add_paid(paid: Paid, split: Allocation, sign: int) -> Paid:
    """Return totals with a split booked (+1) or taken back (-1)."""
    return Paid(
        paid.penalty_fen + sign * split.penalty_fen,
        paid.interest_fen + sign * split.interest_fen,
        paid.principal_fen + sign * split.principal_fen,
        paid.fee_fen + sign * split.fee_fen,
    )


async def ask_shares(connection: Connection, loan_id: str) -> AsyncCursor[Any]:
    """Send the question who funds a loan; it travels behind the loan's lock and costs no round trip."""
    return await connection.execute(store.SELECT_SHARES, [loan_id])


async def fetch_shares(asked: AsyncCursor[Any], fees: LoanFees) -> LoanShares:
    """Return the answer to `ask_shares`, with the fees of the loan's product."""
    rows = await asked.fetchall()
    if not rows:
        raise RuntimeError("a loan without a row in core.loan_funders: every draw writes one")
    return LoanShares(tuple(Share(funder, share) for funder, share, *_ in rows), Paid(*rows[0][2:]), fees)


def make_shares(row: Row, fees: LoanFees, funders: Sequence[str] | None, shares: Sequence[Any]) -> LoanShares:
    """Return who funds a loan from its locked row and the columns of core.loan_funders, the lead last."""
    if not funders:
        raise RuntimeError(f"{row.contract_id}: a loan without core.loan_funders: every draw writes one")
    paid = Paid(row.penalty_paid_fen, row.interest_paid_fen, row.principal_paid_fen, row.fee_paid_fen)
    return LoanShares(tuple(map(Share, funders, shares)), paid, fees)


@dataclass(frozen=True, slots=True)
class Void:
    """Which draw is taken back and why; `order_seen_at` is the last change of its payout order."""

    loan_id: str
    reason: str
    order_seen_at: dt.datetime


async def void_draw(core: LendingCore, command: Command, void: Void) -> Done:
    """Take back a draw whose money never left: entries reversed, quotas free, nothing owed, its order failed.

    Refused (409) once anything was repaid, or when the order was touched since. The caller has to know
    that every channel has refused the order for good.
    """
    cell, slot = core.cell_of_id(Letter.LOAN, void.loan_id), slot_of_id(Letter.LOAN, void.loan_id)
    if cell is None or slot is None:
        raise refuse_field("loan_id", "no loan id", "the id of a loan")

    async def work(connection: Connection, claim: Claim) -> Answer:
        chunk = chunk_of_slot(slot)
        rows = await connection.execute(store.LOCK_DRAWN, [chunk, command.today, void.loan_id])
        orders = await connection.execute(store.LOCK_REFUSED, [void.loan_id, void.order_seen_at])
        stakes = await connection.execute(store.SELECT_STAKES, [void.loan_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await rows.fetchone()
        if row is None:
            raise refuse_field("loan_id", "no such loan", "the id of a loan")
        if await orders.fetchone() is None:
            raise refuse_conflict("loan_id", "a payout order that was touched since", "one that all refused")
        principal_fen, paid_fen, drawn_on, customer_id, today = row
        if paid_fen:
            raise refuse_conflict("loan_id", "a loan on which something was paid", "an unpaid one")
        values = _void_columns(dict(await stakes.fetchall())) | {
            "loan_id": void.loan_id,
            "drawn_on": drawn_on,
            "day": today,
            "reason": void.reason,
            "key": command.key,
            "site": core.site,
            "epoch": claim.epoch,
        }
        await release(connection, void.loan_id, principal_fen)
        await connection.execute(store.INSERT_VOID, values)
        asked = await ask_unlocked(core, connection, void.loan_id)
        stands = await fetch_loan(core, connection, void.loan_id, asked)
        if stands is None:
            raise RuntimeError("a locked loan cannot be gone")
        body = {"loan_id": void.loan_id, "customer_id": customer_id, "voided_fen": principal_fen}
        told = body | {"loan": show_loan_row(stands)}
        return await finish_command(connection, claim, 201, body, Told("loan.voided", void.loan_id, told))

    return await run_command(core, cell, command, work)


def _void_columns(principals_fen: dict[str, int]) -> dict[str, Any]:
    components = {funder: {"principal": fen} for funder, fen in principals_fen.items()}
    entries = entry_columns(plan_funded_entries(Event.DRAW_VOID, components))
    return {
        "accounts": entries["accounts"],
        "amounts": entries["amounts"],
        "entry_funders": entries["funders"],
        "funders": list(principals_fen),
        "principals": list(principals_fen.values()),
    }
