"""What a restored cell of the lending core must keep: the table of checks, and running them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import psycopg

from replication.backup.compare import (
    Checks,
    TableCheck,
    TableFound,
    ZeroCheck,
    ZeroFound,
    check_table,
    check_zeros,
)
from replication.postgres.copy import DATABASE, Copy
from replication.postgres.observe import AdminConnection, connect_admin
from replication.settings import PlaceSettings

_LOAN_ACCOUNTS = "'1303', '1321'"
"""Accounts whose entries make a loan's principal balance: our share and partners'. Source:
core_app/ledger/posting.py."""

LENDING_CHECKS = Checks(
    tables=(
        TableCheck("core", "commands", ("idempotency_key",), "at", fixed=True),
        TableCheck("core", "customers", ("customer_id",), "at", fixed=True),
        TableCheck("core", "applications", ("application_id",), "at", fixed=True),
        TableCheck("core", "contracts", ("contract_id",), "at", fixed=False),
        TableCheck("core", "cost_tables", ("contract_id",), "at", fixed=True),
        TableCheck("core", "product_versions", ("product", "version"), "at", fixed=True),
        TableCheck("core", "loans", ("loan_id",), "at", fixed=False),
        TableCheck("core", "instalments", ("loan_id", "plan_version", "period"), None, fixed=True),
        TableCheck("core", "repayments", ("repayment_id",), "at", fixed=True),
        TableCheck("core", "entries", ("entry_id",), "at", fixed=True),
        TableCheck("core", "outbox", ("outbox_id",), "at", fixed=True),
        TableCheck("core", "loan_funders", ("loan_id", "place"), "at", fixed=True),
        TableCheck("core", "payout_orders", ("order_id",), "at", fixed=False),
        TableCheck("core", "payout_events", ("event_id",), "at", fixed=True),
        TableCheck("core", "draw_voids", ("loan_id",), "at", fixed=True),
        TableCheck("core", "settlements", ("funder", "on_date"), "at", fixed=True),
        TableCheck("core", "limit_changes", ("change_id",), "at", fixed=True),
        TableCheck("core", "reversals", ("repayment_id",), "at", fixed=True),
        TableCheck("core", "corrections", ("repayment_id", "idempotency_key"), "at", fixed=True),
        TableCheck("core", "write_offs", ("loan_id",), "at", fixed=True),
        TableCheck("core", "rate_changes", ("loan_id", "plan_version"), "at", fixed=True),
        TableCheck("core", "debit_agreements", ("agreement_id",), "at", fixed=True),
        TableCheck("core", "debit_orders", ("order_id",), "at", fixed=False),
        TableCheck("core", "debit_events", ("event_id",), "at", fixed=True),
        TableCheck("core", "identity_evidence", ("evidence_id",), "at", fixed=True),
        TableCheck("core", "consents", ("consent_id",), "at", fixed=True),
        TableCheck("core", "limit_reviews", ("review_id",), "at", fixed=True),
        TableCheck("core", "strategies", ("number",), "at", fixed=True),
        TableCheck("core", "customer_segments", ("place_id",), "at", fixed=True),
        TableCheck("core", "coupons", ("coupon_id",), "at", fixed=False),
        TableCheck("core", "coupon_events", ("event_id",), "at", fixed=True),
        TableCheck("core", "campaigns", ("campaign",), "at", fixed=True),
        TableCheck("core", "campaign_targets", ("campaign", "customer_id"), "at", fixed=True),
        TableCheck("core", "rfm_tiers", ("customer_id", "on_date"), "at", fixed=True),
        TableCheck("core", "partner_scores", ("score_id",), "at", fixed=True),
        TableCheck("core", "pre_screens", ("pre_screen_id",), "at", fixed=True),
        TableCheck("core", "notices", ("notice_id",), "at", fixed=False),
        TableCheck("core", "collection_tasks", ("task_id",), "at", fixed=False),
        TableCheck("core", "contacts", ("contact_id",), "at", fixed=True),
        TableCheck("core", "contact_outcomes", ("contact_id",), "at", fixed=True),
        TableCheck("core", "hardships", ("loan_id", "asked_on"), "at", fixed=True),
        TableCheck("core", "complaints", ("complaint_id",), "at", fixed=False),
        TableCheck("core", "complaint_acts", ("complaint_id", "number"), "at", fixed=True),
        TableCheck("core", "opinion_checks", ("feed", "on_date"), "at", fixed=True),
        TableCheck("core", "alert_tasks", ("task_id",), "at", fixed=False),
        TableCheck("core", "clearings", ("channel", "kind", "on_date", "revision"), "at", fixed=True),
        TableCheck("core", "custody", ("order_id", "channel"), "at", fixed=False),
        TableCheck("core", "day_end_progress", ("on_date", "step", "chunk"), "at", fixed=True),
        TableCheck("core", "staff_looks", ("look_id",), "at", fixed=True),
        TableCheck("core", "staff_look_ends", ("look_id",), "at", fixed=True),
        TableCheck("core", "staff_pages", ("page_id",), "at", fixed=True),
        TableCheck("access", "accounts", ("staff",), "at", fixed=False),
        TableCheck("access", "approvals", ("approval_id",), "asked_at", fixed=False),
        TableCheck("access", "changes", ("change_id",), "at", fixed=True),
    ),
    zeros=(
        ZeroCheck("trial balance (fen)", "select coalesce(sum(amount_fen), 0) from core.entries"),
        ZeroCheck(
            "loans whose balance is not the sum of their entries",
            f"""select count(*) from core.loans l where l.written_off_on is null
                and l.balance_fen <> (select coalesce(sum(amount_fen), 0)
                from core.entries e where e.loan_id = l.loan_id and e.account in ({_LOAN_ACCOUNTS}))""",  # noqa: S608
        ),
        ZeroCheck(
            "entries without their command",
            """select count(*) from core.entries e
                where not exists (select from core.commands c where c.idempotency_key = e.idempotency_key)""",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the checks found; `compared` is False when the living cell could not be asked."""

    tables: tuple[TableFound, ...]
    zeros: tuple[ZeroFound, ...]
    compared: bool

    @property
    def good(self) -> bool:
        """Say whether every check holds."""
        return all(t.good for t in self.tables) and all(z.good for z in self.zeros)


async def check_restored(
    copy: Copy,
    live: PlaceSettings | None,
    to: datetime,
    tell: Callable[[str, int, int], None],
    checks: Checks = LENDING_CHECKS,
) -> Findings:
    """Run the checks on a restored, running server; compare with the living primary when it answers."""
    conn = await _connect(copy.place, copy)
    try:
        other = await _connect(live, copy) if live is not None else None
    except (psycopg.Error, OSError, TimeoutError):
        other = None
    try:
        tables = []
        for done, check in enumerate(checks.tables):
            tell("compare", done, len(checks.tables))
            tables.append(await check_table(conn, other, check, to))
        tell("compare", len(checks.tables), len(checks.tables))
        zeros = await check_zeros(conn, checks)
    finally:
        await asyncio.gather(conn.close(), *([other.close()] if other else []))
    return Findings(tuple(tables), tuple(zeros), other is not None)


async def _connect(place: PlaceSettings, copy: Copy) -> AdminConnection:
    conn = await connect_admin(place, copy.passfile, dbname=DATABASE, timeout_seconds=5.0)
    await conn.execute("set statement_timeout = 0")
    return conn
