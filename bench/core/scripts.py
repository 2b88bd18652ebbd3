"""The core's own statements as pgbench scripts: the same texts, with the figures of one fixed case."""

import json
import re

from core_app.commands import _CLAIM, _FINISH  # the very statements that are measured
from core_app.funding import store as funding
from core_app.limits import store as limits
from core_app.loans import store
from core_app.loans.reading import _LOCK

_TAIL = "lpad(to_hex((:n)::bigint % 1024), 3, '0') || '-' || lpad(to_hex((:n)::bigint), 32, '0')"
_CHUNK = "((:n)::bigint % 1024 / 4)::smallint"
_KEY = "'bench-' || :run || '-' || :client_id || '-' || :i"
_LOAN = {
    "balance_fen": 1200000, "customer_id": "C0123456789abcdef01234567", "drawn_on": "2026-05-03",
    "loan_id": "L1f3-0123456789abcdef0123456789abcdef", "next_due": "2026-06-03", "next_due_fen": 110016,
    "outstanding_fen": 1320195, "principal_fen": 1200000, "status": "active", "as_of": "2026-05-03",
    "days_past_due": 0, "penalty_fen": 0,
}  # fmt: skip
_JSON = f"'{json.dumps(_LOAN)}'::jsonb"


def _fill(statement: str, values: dict[str, str]) -> str:
    """Return a statement of psycopg's with its named parameters replaced, on one line."""
    return " ".join(re.sub(r"%\((\w+)\)s", lambda match: values[match[1]], statement).split())


def _in_order(statement: str, *values: str) -> str:
    parts = statement.split("%s")
    return " ".join("".join(a + b for a, b in zip(parts, (*values, ""), strict=True)).split())


def _begin(kind: str) -> list[str]:
    digest = "decode(repeat('00', 32), 'hex')"
    claim = _in_order(_CLAIM, _KEY, digest, f"'{kind}'", "7", "'idc'")
    return ["begin;", "select biyi.require_epoch(7);", claim + ";"]


def _script(pipelines: list[list[str]], choose: str) -> str:
    """Return the pipelines as the core sends them: claim and lock first, book and commit last."""
    lines = ["\\set i :i + 1", choose]
    pipelines[-1].append("commit;")
    for pipeline in pipelines:
        lines += ["\\startpipeline", *pipeline, "\\endpipeline"]
    return "\n".join([*lines, ""])


def repayment_script() -> str:
    """Return the script of a repayment of one fen on a random loan."""
    values = {
        "repayment_id": f"'R' || :run || '-' || :client_id || '-' || :i || '-' || {_TAIL}",
        "loan_id": f"'L' || {_TAIL}",
        "key": _KEY,
        "day": "'2026-05-03'::date",
        "accounts": "array['1002', '6011']",
        "amounts": "array[1, -1]",
        "funders": "array['own', 'own']",
        "recovered_own_fen": "0",
        "interest_paid_fen": "interest_paid_fen + 1",
        "interest_planned_fen": "interest_fen",
        "late_periods": "array[]",
        "late_fen_days": "array[]",
        "late_counted_to": "array[]",
        "late_paid": "array[]",
        "kind": "'repayment'",
        "booked_version": "1",
        "amount_fen": "1",
        "penalty_fen": "0",
        "interest_fen": "1",
        "principal_fen": "0",
        "fee_fen": "0",
        "payload": _JSON,
        "response": _JSON,
    }
    same = ("principal_paid_fen", "penalty_paid_fen", "open_period", "plan_version", "interest_fen_days")
    values |= {name: name for name in (*same, "interest_to", "settled_on")}
    lock = _in_order(_LOCK, f"'L' || {_TAIL}", _CHUNK, "'2026-05-03'", "4")
    shares = _in_order(funding.SELECT_SHARES, f"'L' || {_TAIL}")
    given_back = _fill(limits.RELEASE, values | {"principal_fen": "0::bigint"})
    book = _fill(store.INSERT_REPAYMENT, values)
    choose = "\\set n random(1, :loans)"
    first = [*_begin("repayment"), lock + ";", shares + ";"]
    return _script([first, [given_back + ";", book + ";"]], choose)


def draw_script(plan: dict[str, list[object]]) -> str:
    """Return the script of a draw of the next signed contract."""

    def array(name: str, kind: str) -> str:
        items = ", ".join(f"'{item}'" if kind == "date" else str(item) for item in plan[name])
        return f"array[{items}]::{kind}[]"

    values = {
        "loan_id": f"'L' || {_TAIL}",
        "contract_id": f"'K' || {_TAIL}",
        "customer_id": "'C' || lpad(to_hex(1 + (:n)::bigint % :loans), 24, '0')",
        "product": "'instalment-12'",
        "product_version": "1",
        "rate_annual": "0.18",
        "day": "'2026-05-03'::date",
        "principal_fen": "1200000",
        "interest_fen": "120195",
        "anytime": "false",
        "interest_to": "null",
        "accounts": "array['1303', '1002']",
        "amounts": "array[1200000, -1200000]",
        "funders": "array['own', 'own']",
        "key": _KEY,
        "topic": "'loan.drawn'",
        "row_key": f"'L' || {_TAIL}",
        "payload": _JSON,
        "status": "201",
        "response": _JSON,
        "periods": array("periods", "smallint"),
        "begins": array("begins", "date"),
        "dues": array("dues", "date"),
        **{name: array(name, "bigint") for name in
           ("principals", "interests", "principals_before", "interests_before")},
    }  # fmt: skip
    lock = _in_order(store.LOCK_CONTRACT, _CHUNK, "'2026-05-03'", f"'K' || {_TAIL}")
    choose = "\\set n :loans + :i * :clients + :client_id + :first"
    held = values | {"amount_fen": "1200000::bigint", "today": values["day"]}
    consume = [_fill(limits.CONSUME, held) + ";", _fill(limits.COUNT_DRAWS, held) + ";"]
    shares = values | {
        "funders": "array['own']", "versions": "array[null]", "shares": "array[1.0]",
        "principals": "array[1200000]", "interests": "array[120195]", "settle_in_days": "0",
        "passed_over": "'[]'",
    }  # fmt: skip
    order = held | {
        "order_id": f"'P' || {_TAIL}", "payee_kind": "'borrower'", "payee": values["customer_id"],
        "kinds": "array['bank']", "patience": "interval '1 hour'", "epoch": "7", "site": "'idc'",
    }  # fmt: skip
    last = [
        _fill(statement, its) + ";"
        for statement, its in (
            (store.INSERT_DRAW, values),
            (funding.INSERT_SHARES, shares),
            (funding.INSERT_ORDER, order),
            (_FINISH, values),
        )
    ]
    return _script([[*_begin("draw"), lock + ";"], consume, last], choose)
