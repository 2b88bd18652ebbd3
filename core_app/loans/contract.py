"""Sign the contract of an approved application: rules, limits and the cost table, one transaction."""

import datetime as dt
from dataclasses import dataclass

from core_app.commands import (
    Answer,
    Claim,
    Command,
    Done,
    finish_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.disclosure.charges import compute_charges
from core_app.disclosure.cost_table import make_cost_table
from core_app.documents import Canonical
from core_app.errors import refuse_conflict, refuse_field
from core_app.ids import Letter, slot_of_id
from core_app.limits.hold import Hold, path_of, refuse_breach, reserve
from core_app.limits.tree import CUSTOMER, find_breaches
from core_app.loans import store
from core_app.loans.schedule import show_plan
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.price import price_product
from core_app.products.published import ask_on_sale
from core_app.rules.engine import judge, refuse_by_rules
from core_app.rules.legal import Stage
from core_app.rules.measure import Confirmation, Offer, measure_contract
from core_app.slots import chunk_of_slot


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Which cost table the borrower confirmed, by its hash in hex, after how many seconds of reading."""

    sm3: str | None = None
    read_seconds: int = 0


async def sign_contract(
    core: LendingCore, command: Command, application_id: str, confirmed: Confirmed
) -> Done:
    """Sign the contract of an approved application, once, with rules and limits asked again under lock.

    The schedule shown is that of a draw on the signing day; a later draw moves its due dates. The cost
    table is kept as it was shown, with what the borrower did with it.
    """
    slot = slot_of_id(Letter.APPLICATION, application_id)
    cell = core.cell_of_id(Letter.APPLICATION, application_id)
    if slot is None or cell is None:
        raise refuse_field("body.application_id", "no application id", "the id of an application")

    async def work(connection: Connection, claim: Claim) -> Answer:
        chunk = chunk_of_slot(slot)
        rows = await connection.execute(store.SELECT_APPLICATION, [chunk, command.today, application_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await rows.fetchone()
        if row is None:
            raise refuse_field("body.application_id", "no such application", "an approved application")
        application = store.ApplicationRow(*row)
        product = await _find_product(core, connection, application, (chunk, command.today))
        product = price_product(product, application.segment, application.periods)
        today = application.today
        charges = compute_charges(product, application.amount_fen, application.periods, today)
        table = make_cost_table(product, charges, application.periods)
        contract_id = core.new_id(Letter.CONTRACT, slot)
        wanted = Hold(contract_id, application.customer_id, product, application.amount_fen, today)
        await _check_limits(core, connection, application, wanted, _judge(confirmed, table))
        contract = {
            "contract_id": contract_id,
            "application_id": application_id,
            "customer_id": application.customer_id,
            "product": product.id,
            "product_version": product.version,
            "amount_fen": application.amount_fen,
            "periods": application.periods,
            "rate_annual": product.pricing.rate_annual,
        }
        inserted = await connection.execute(
            store.INSERT_CONTRACT, contract | {"signed_on": today, "key": command.key}
        )
        if await inserted.fetchone() is None:
            raise refuse_conflict(
                "body.application_id", "an application with a contract", "another application"
            )
        await _keep_table(connection, contract_id, table, confirmed, (today, command.key))
        shown = contract | {
            "rate_annual": str(product.pricing.rate_annual),
            "cost_table_sm3": table.sm3.hex(),
        }
        told = Told("contract.signed", contract_id, shown)
        return await finish_command(
            connection, claim, 201, shown | {"schedule": show_plan(charges.plan)}, told
        )

    return await run_command(core, cell, command, work)


def _judge(confirmed: Confirmed, table: Canonical) -> Confirmation:
    return Confirmation(confirmed.sm3 == table.sm3.hex(), confirmed.read_seconds)


async def _find_product(
    core: LendingCore, connection: Connection, application: store.ApplicationRow, when: tuple[int, dt.date]
) -> Product:
    """Return the product to sign for; Refused (409) when the application or its version forbids it."""
    if application.decision != "approved":
        raise refuse_conflict("body.application_id", "an application that was refused", "an approved one")
    chunk, calendar = when
    asked = await ask_on_sale(core, connection, application.product, calendar, chunk)
    product = await asked.fetch(application.today)
    if product is None or product.version != application.product_version:
        raise refuse_conflict(
            "body.application_id", "a product version that is not on offer", "a new application"
        )
    return product


async def _check_limits(
    core: LendingCore,
    connection: Connection,
    application: store.ApplicationRow,
    wanted: Hold,
    confirmation: Confirmation,
) -> None:
    """Reserve at every level under lock, then ask limits and rules; Refused when one forbids the contract."""
    today, product = application.today, wanted.product
    path = path_of(core, product, today)
    rows = await reserve(connection, wanted, path)
    for breach in find_breaches(path, rows, tier_limit_fen=application.tier_limit_fen):
        raise refuse_breach("body.application_id", breach, "contract")
    owed_fen = rows[CUSTOMER].held_fen - application.amount_fen
    offer = Offer(application.amount_fen, application.periods, today, application.purpose)
    measures = measure_contract(product, offer, (owed_fen,), confirmation)
    if refusals := judge(core.catalogue.rulebook, Stage.CONTRACT, measures, today):
        raise refuse_by_rules(refusals)


async def _keep_table(
    connection: Connection,
    contract_id: str,
    table: Canonical,
    confirmed: Confirmed,
    when: tuple[dt.date, str],
) -> None:
    values = {
        "contract_id": contract_id,
        "document": table.text,
        "document_sm3": table.sm3,
        "confirmed": confirmed.sm3 == table.sm3.hex(),
        "read_seconds": confirmed.read_seconds,
        "shown_on": when[0],
        "key": when[1],
    }
    await connection.execute(store.INSERT_COST_TABLE, values)
