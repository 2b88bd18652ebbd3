"""Every table of the core: whose its rows are, and how the rows of one chunk of slots are found. Pure.

A table that is new has to be put here: tests/integration/moving/test_moving.py walks the live schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core_app.slots import CHUNK_SLOTS

CELL_TABLES = frozenset(
    f"core.{name}"
    for name in (
        "accounts", "alert_tasks", "business_date", "campaigns", "clearings", "day_end_chunks",
        "funder_quotas", "funder_versions", "gang_runs", "opinion_checks", "opinion_feeds",
        "product_versions", "settlements", "slot_moves", "staff_pages", "strategies",
    )
) | {"keys.closed_versions", "keys.rewraps"}  # fmt: skip
"""Tables whose rows are the cell's own: they stay."""

TOLD_LETTERS = "ADGKLNPRTUV"
"""First letters of the routed ids that an outbox row may be about (`core_app.ids`, debits, notices)."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A table whose rows go with their customers.

    `where` finds a chunk's rows, in terms of `bounds`. `numbered`: the identity column of a table that only
    grows, so that rows up to a number that has settled never change: they are copied and compared before the
    fence. `fresh`: columns that the target fills by itself, besides identities and generated ones.
    `withdrawn`: rows of a numbered table go when their customer takes a consent back or their time is over,
    so that those which had settled are counted once more behind the fence.
    """

    name: str
    where: str
    numbered: str | None = None
    fresh: frozenset[str] = frozenset()
    withdrawn: bool = False

    @property
    def schema(self) -> str:
        """Return the schema."""
        return self.name.partition(".")[0]

    @property
    def table(self) -> str:
        """Return the name within its schema."""
        return self.name.partition(".")[2]


def bounds(chunk: int) -> dict[str, object]:
    """Return the values of a chunk for `Moved.where`: its slots, its ids' range in hex, day-end's names.

    >>> bounds(1)["low"], bounds(255)["high"]
    ('004-', '400-')
    """
    first = chunk * CHUNK_SLOTS
    return {
        "first": first,
        "last": first + CHUNK_SLOTS - 1,
        "low": f"{first:03x}-",
        "high": f"{first + CHUNK_SLOTS:03x}-",
        "chunk": chunk,
        "chunk_text": str(chunk),
        "day_end": f"-{chunk:03d}",
    }


def _routed(letter: str, column: str) -> str:
    return f"(t.{column} >= '{letter}' || {{low}} and t.{column} < '{letter}' || {{high}})"


_OF_CUSTOMER = (
    "t.customer_id in (select c.customer_id from core.customers c where c.slot between {first} and {last})"
)


def _told(row: str) -> str:
    """Return what finds a chunk's outbox rows, called `row` in the statement.

    What staff did stays where it was done; that a loan left is of the cell that it left.
    """
    about = [f"({row}.key >= '{one}' || {{low}} and {row}.key < '{one}' || {{high}})" for one in TOLD_LETTERS]
    about.append(_OF_CUSTOMER.replace("t.customer_id in", f"{row}.key in"))
    about.append(
        f"({row}.key >= 'day-end-' and {row}.key < 'day-end.' and right({row}.key, 4) = {{day_end}})"
    )
    return f"{row}.topic not like 'staff.%' and {row}.topic <> 'loan.moved' and ({' or '.join(about)})"


def _by_customer(name: str, numbered: str | None = None, *, withdrawn: bool = False) -> Moved:
    return Moved(f"core.{name}", _OF_CUSTOMER, numbered, withdrawn=withdrawn)


def _by_id(name: str, letter: str, column: str, numbered: str | None = None) -> Moved:
    return Moved(f"core.{name}", _routed(letter, column), numbered)


def _by_loan(name: str) -> Moved:
    return _by_id(name, "L", "loan_id")


OUTBOX = Moved("core.outbox", _told("t"), "outbox_id", frozenset({"xid"}))
COMMANDS = Moved(
    "core.commands",
    f"t.idempotency_key in (select o.idempotency_key from core.outbox o where {_told('o')} and {{settled}})",  # noqa: S608 - our own text
    "outbox_id",
)
"""Found by their outbox rows and settled with them: `numbered` is the outbox's, which `where` asks inside."""

MOVED: tuple[Moved, ...] = (
    OUTBOX,
    COMMANDS,
    Moved("core.customers", "t.slot between {first} and {last}"),
    Moved("keys.shredded", _OF_CUSTOMER),
    _by_id("applications", "A", "application_id"),
    _by_id("contracts", "K", "contract_id"),
    _by_id("cost_tables", "K", "contract_id"),
    _by_loan("loans"),
    _by_loan("instalments"),
    _by_loan("late_lines"),
    _by_loan("loan_funders"),
    _by_loan("repayments"),
    _by_id("reversals", "R", "repayment_id"),
    _by_id("corrections", "R", "repayment_id"),
    _by_loan("write_offs"),
    _by_loan("entrusted_payments"),
    _by_loan("draw_voids"),
    _by_loan("rate_changes"),
    _by_loan("hardships"),
    Moved(
        "core.entries",
        f"({_routed('L', 'loan_id')} or (t.loan_id = '' and t.transaction_id like 'day-end/%'"
        " and split_part(t.transaction_id, '/', 3) = {chunk_text}))",
        "entry_id",
        frozenset({"xid"}),
    ),
    _by_customer("limits"),
    _by_customer("limit_changes", "change_id"),
    _by_id("limit_holds", "K", "contract_id"),
    _by_customer("limit_reviews", "review_id"),
    _by_id("decision_steps", "A", "application_id"),
    _by_customer("customer_tiers", "tier_id"),
    _by_customer("bureau_inquiries", "inquiry_id"),
    _by_customer("evidence"),
    _by_customer("gang_members"),
    _by_customer("identity_evidence", "evidence_id"),
    _by_customer("consents", "consent_id"),
    _by_customer("source_answers", "answer_id", withdrawn=True),
    _by_customer("pre_screens", "pre_screen_id"),
    _by_customer("customer_segments", "place_id"),
    _by_customer("rfm_tiers"),
    _by_customer("partner_scores", "score_id"),
    _by_id("payout_orders", "P", "order_id"),
    _by_id("payout_events", "P", "order_id", "event_id"),
    _by_customer("debit_agreements", "agreement_id"),
    _by_id("debit_orders", "D", "order_id"),
    _by_id("debit_events", "D", "order_id", "event_id"),
    Moved("core.clearing_lines", f"({_routed('P', 'order_id')} or {_routed('D', 'order_id')})"),
    Moved("core.custody", f"({_routed('P', 'order_id')} or {_routed('D', 'order_id')})"),
    Moved("core.day_end_progress", "t.chunk = {chunk}"),
    Moved("core.closings", "t.chunk = {chunk}"),
    _by_loan("loan_snapshots"),
    _by_customer("statements"),
    _by_customer("statement_lines"),
    _by_id("notices", "N", "notice_id"),
    _by_id("collection_tasks", "T", "task_id"),
    _by_id("contacts", "U", "contact_id"),
    _by_id("contact_outcomes", "U", "contact_id"),
    _by_id("complaints", "G", "complaint_id"),
    _by_id("complaint_acts", "G", "complaint_id"),
    _by_id("coupons", "V", "coupon_id"),
    _by_id("coupon_events", "V", "coupon_id", "event_id"),
    _by_customer("campaign_targets"),
    _by_customer("page_events", "event_id", withdrawn=True),
    _by_customer("staff_assignments"),
    _by_id("staff_looks", "S", "look_id"),
    _by_id("staff_look_ends", "S", "look_id"),
    _by_id("staff_look_beats", "S", "look_id"),
    Moved("core.staff_look_runs", _routed("S", "look_id"), None, frozenset({"made_in"})),
)
"""In the order in which their rows can be written: what is referred to goes first. The transaction in which a
look was carried out opens a customer's row to it, so it is not taken along: `made_in` is the move's own."""


def where(moved: Moved, texts: Mapping[str, str], above: int | None = None, upto: int | None = None) -> str:
    """Return the condition as SQL; `texts` are the chunk's bounds as SQL literals.

    Of a numbered table only what is above one number and not above the other, where they are given.
    """
    column = f"o.{moved.numbered}" if moved is COMMANDS else f"t.{moved.numbered}"
    limits = [f"{column} > {above}"] if above is not None else []
    limits += [f"{column} <= {upto}"] if upto is not None else []
    settled = " and ".join(limits if moved.numbered else []) or "true"
    filled = moved.where.format(**texts, settled=settled)
    return filled if moved is COMMANDS else f"({filled}) and {settled}"
