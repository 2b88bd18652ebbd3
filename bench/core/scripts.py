"""The core's own statements as pgbench scripts: the same texts, with the figures of one fixed case."""

import json
import re
from typing import Any

from core_app.commands import EARLIER_ALL
from core_app.loans.book import BOOK_CLAIMING
from core_app.loans.draw_store import LOCK, WRITE
from core_app.loans.draw_store import READ as READ_CONTRACTS
from core_app.loans.repay import LOCK as LOCK_LOANS
from core_app.loans.repay import READ

_TAIL = "lpad(to_hex((:n)::bigint % 1024), 3, '0') || '-' || lpad(to_hex((:n)::bigint), 32, '0')"
_CHUNK = "((:n)::bigint % 1024 / 4)::smallint"
_KEY = "'{kind}-' || :run || '-' || :client_id || '-' || :i"
_LOAN = {
    "balance_fen": 1200000, "customer_id": "C0123456789abcdef01234567", "drawn_on": "2026-05-03",
    "loan_id": "L1f3-0123456789abcdef0123456789abcdef", "next_due": "2026-06-03", "next_due_fen": 110016,
    "outstanding_fen": 1320195, "principal_fen": 1200000, "status": "active", "as_of": "2026-05-03",
    "days_past_due": 0, "penalty_fen": 0,
}  # fmt: skip
_REPAID = {"repayment_id": "the-repayment", "interest_fen": 1, "principal_fen": 1, "penalty_fen": 0,
    "balance_fen": 1199999, "customer_id": _LOAN["customer_id"], "amount_fen": 2}  # fmt: skip
_BOOKED = {
    "key": "the-key", "loan_id": "the-loan", "contract_id": "the-contract", "repayment_id": "the-repayment",
    "kind": "repayment", "booked_version": 1, "amount_fen": 2, "penalty_fen": 0, "interest_fen": 1,
    "principal_fen": 1, "fee_fen": 0, "prepayment_fee_fen": 0, "fee_paid_fen": 0, "fee_planned_fen": 0,
    "recovered_own_fen": 0, "day": "2026-05-03", "principal_paid_fen": 1,
    "interest_paid_fen": 1, "penalty_paid_fen": 0, "open_period": 1, "plan_version": 1,
    "interest_planned_fen": 120195, "interest_fen_days": 0, "interest_to": None, "settled_on": None,
    "accounts": ["1002", "1303", "6011"], "amounts": [2, -1, -1], "funders": ["own", "own", "own"],
    "late_periods": [], "late_fen_days": [], "late_counted_to": [], "late_paid": [],
    "digest": "00" * 32, "epoch": 7, "site": "idc",
}  # fmt: skip
_DRAWN = {
    "key": "the-key", "digest": "00" * 32, "epoch": 7, "site": "idc", "loan_id": "the-loan",
    "contract_id": "the-contract", "customer_id": "the-customer", "product": "instalment-12",
    "product_version": 1, "rate_annual": "0.18", "day": "2026-05-03", "amount_fen": 1200000,
    "principal_fen": 1200000, "interest_fen": 120195, "fee_fen": 0, "anytime": False, "interest_to": None,
    "accounts": ["1303", "1002"], "amounts": [1200000, -1200000], "entry_funders": ["own", "own"],
    "funders": ["own"], "versions": [None], "shares": ["1"], "funder_principals": [1200000],
    "funder_interests": [120195], "settle_in_days": 0, "passed_over": [], "payout_id": "the-payout",
    "payee_kind": "borrower", "payee": "the-customer", "kinds": ["bank"], "patience": "60 minutes",
    "merchant_id": None, "merchant_kind": None, "order_id": None,
    "response": {"loan_id": "the-loan", "contract_id": "the-contract", "customer_id": "the-customer",
                 "balance_fen": 1200000, "outstanding_fen": 1320195, "next_due": "2026-06-03"},
    "payload": _LOAN | {"product": "instalment-12", "loan": _LOAN},
}  # fmt: skip


def _fill(statement: str, values: dict[str, str]) -> str:
    """Return a statement of psycopg's with its named parameters replaced, on one line."""
    return " ".join(re.sub(r"%\((\w+)\)s", lambda match: values[match[1]], statement).split())


def _in_order(statement: str, *values: str) -> str:
    parts = statement.split("%s")
    return " ".join("".join(a + b for a, b in zip(parts, (*values, ""), strict=True)).split())


def _script(pipelines: list[list[str]], choose: str) -> str:
    """Return the pipelines as the core sends them: lock and read first, write and commit last."""
    lines = ["\\set i :i + 1", choose]
    pipelines[-1].append("commit;")
    for pipeline in pipelines:
        lines += ["\\startpipeline", *pipeline, "\\endpipeline"]
    return "\n".join([*lines, ""])


def repayment_script() -> str:
    """Return the script of a repayment of two fen, one of interest and one of principal, on a random loan."""
    key, loan = _KEY.format(kind="repayment"), f"('L' || {_TAIL})"
    first = [
        "begin;",
        "select biyi.require_epoch(7);",
        _in_order(LOCK_LOANS, f"array[{loan}]", f"array[{_CHUNK}]", "'2026-05-03'") + ";",
        _in_order(EARLIER_ALL, f"array[{key}]") + ";",
        _in_order(READ, f"array[{loan}]", f"array[{_CHUNK}]", "'2026-05-03'", "4") + ";",
    ]
    row = json.dumps([{**_BOOKED, "payload": _REPAID | {"loan": _LOAN}, "response": _REPAID}])
    for name, value in {
        "the-key": key,
        "the-repayment": f"'R' || :run || '-' || :client_id || '-' || :i || '-' || {_TAIL}",
        "the-loan": loan,
        "the-contract": f"'K' || {_TAIL}",
    }.items():
        row = row.replace(name, f"' || {value} || '")
    return _script([first, [_fill(BOOK_CLAIMING, {"rows": f"('{row}')"}) + ";"]], "\\set n random(1, :loans)")


def draw_script(plan: dict[str, list[Any]]) -> str:
    """Return the script of a draw of the next signed contract."""
    key, contract = _KEY.format(kind="draw"), f"('K' || {_TAIL})"
    read = {
        "contracts": f"array[{contract}]",
        "chunks": f"array[{_CHUNK}]",
        "merchants": "array[null]",
        "orders": "array[null]",
        "today": "'2026-05-03'",
    }
    first = [
        "begin;",
        "select biyi.require_epoch(7);",
        _in_order(LOCK, f"array[{contract}]", f"array[{_CHUNK}]", "'2026-05-03'") + ";",
        _in_order(EARLIER_ALL, f"array[{key}]") + ";",
        _fill(READ_CONTRACTS, read) + ";",
    ]
    row = json.dumps([_DRAWN | plan], default=str)
    customer = "('C' || lpad(to_hex(1 + (:n)::bigint % :loans), 24, '0'))"
    for name, value in {
        "the-key": key,
        "the-payout": f"'P' || {_TAIL}",
        "the-loan": f"'L' || {_TAIL}",
        "the-contract": contract,
        "the-customer": customer,
    }.items():
        row = row.replace(name, f"' || {value} || '")
    choose = "\\set n :loans + :i * :clients + :client_id + :first"
    return _script([first, [_fill(WRITE, {"rows": f"('{row}')"}) + ";"]], choose)
