"""What a core and its commands would answer a console, for tests of pages; shaped as the real ones answer."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runbooks.console.readings import Commands

CASE, CUSTOMER = "W-" + "0123456789abcdef" * 2, "C0123456789abcdef01234567"
APPROVAL, LOOK = "0123456789abcdef" * 2, "S1f3-" + "0123456789abcdef" * 2
AT = "2026-11-22T16:31:07.000005+00:00"
SUMMARY = {
    "case_id": CASE, "day": "2026-11-20", "subject": "e0123456789abcdef0123", "place": 1, "why": "fresh",
    "score": 91.4, "level": "critical", "state": "open", "disposition": "explained",
    "proposed_by": "deng.li", "confirmed_by": None,
}  # fmt: skip
REASON = {
    "family": "volume", "text": "how much was looked at", "text_zh": "查看数量", "measure": "customers",
    "over": "day", "digits": 2.1, "share": 0.71, "value": 46.0, "own_usual": 11.0, "own_days": 30,
    "peers_usual": 12.5, "since": "2026-11-20",
}  # fmt: skip
EVENT = {
    "event_id": "v1", "at": AT, "action": "view", "customer": "c00000000000000000001", "system": "portal",
    "terminal": "branch-7-12", "assigned": False, "dwell_ms": 9000, "result": "ok", "purpose": "complaint",
}  # fmt: skip
DOCUMENT = {
    "role": "service", "branch": "b001", "rules": [{"rule": "r", "text": "x", "text_zh": "规", "floor": 9}],
    "today": [REASON], "accumulated": [REASON], "events": [EVENT], "events_left_out": 3,
}  # fmt: skip
ACT = {"number": 1, "kind": "propose", "done_by": "deng.li", "disposition": "explained", "family": "volume",
       "until": "2026-12-20", "at": AT, "comment": "seen the plan"}  # fmt: skip
ASKED = {
    "approval_id": APPROVAL, "route": "RUN drill site-loss", "needs": "security_admin", "state": "open",
    "shown": {"path": "biyi drill run site-loss", "body": {"site": "idc"}}, "asked_by": "an.bo",
    "asked_at": AT, "decided_by": None, "decided_at": None, "granted": None, "used_at": None,
}  # fmt: skip
MASKED = {"name": "张*", "id_number": "110***********002X", "phone": "138****8000"}
CLEAR = {"name": "张三", "id_number": "11010519491231002X", "phone": "13800138000"}
LOOKED = {"look_id": LOOK, "subject": "customer", "subject_id": CUSTOMER, "customer_id": CUSTOMER,
          "clear": False, "person": MASKED, "facts": {"principal_fen": 120_000}}  # fmt: skip
SITES = ("idc", "cloud")
ANSWERS: Mapping[tuple[str, str], Any] = {
    ("GET", "/v1/staff/cases"): {"cases": [SUMMARY, {**SUMMARY, "state": "closed", "why": "watched"}]},
    ("GET", "/v1/staff/case-burden"): {"burden": [{"role": "clerk", "branch": "b", "cases": 3, "subjects": 2,
                                                   "closed": 1, "without_finding": 1}]},
    ("GET", "/v1/staff/watch-list"): {
        "day": "2026-11-20", "watched": [{"subject": "e0123456789abcdef9999", "since": "2026-11-18"}]},
    ("GET", f"/v1/staff/cases/{CASE}"): {**SUMMARY, "unmasked_by": [], "acts": [ACT], "document": DOCUMENT},
    ("GET", f"/v1/staff/cases/{CASE}/timeline"): {"subject": "e01", "cases": [SUMMARY, SUMMARY],
                                                  "events": [EVENT], "events_left_out": 3},
    ("GET", "/v1/staff/approvals"): {"approvals": [ASKED, {**ASKED, "state": "used"}]},
    ("POST", f"/v1/staff/customers/{CUSTOMER}/looks"): LOOKED,
    ("POST", f"/v1/staff/customers/{CUSTOMER}/unmaskings"): {**LOOKED, "clear": True, "person": CLEAR},
    ("POST", "/v1/staff/searches"): {"page_id": LOOK, "rows": [
        {"look_id": LOOK, "customer_id": CUSTOMER, "person": MASKED}]},
    ("POST", "/v1/staff/assigned"): {"page_id": LOOK, "rows": []},
    ("POST", "/v1/staff/approvals"): ASKED,
    ("POST", f"/v1/staff/approvals/{APPROVAL}/decision"): ASKED,
    ("POST", f"/v1/staff/cases/{CASE}/acts"): {},
    ("POST", f"/v1/staff/cases/{CASE}/unmaskings"): {"subject": "e01", "staff": "li.wei"},
    ("POST", "/v1/staff/heartbeats"): {"noted": 1},
    ("POST", f"/v1/staff/looks/{LOOK}/end"): {},
}  # fmt: skip
OVERDUE = {
    "id": "region_overdue", "name": {"zh": "地区逾期率过高", "en": "Too much overdue in a region"},
    "metric": "overdue_share", "per": ["region"], "where": {}, "operator": "above", "threshold": "0.05",
    "least_whole": 20, "window": {"days": 3, "how": "every"}, "action": "risk_check",
    "owner": "chief risk officer",
}  # fmt: skip
SAID: Mapping[str, Any] = {
    "keys status": {
        "sites": {site: {"generation": 3, "root": "file", "holders": ["zhang"],
                         "states": {"core.customers": {"1": "retired", "2": "primary"}}} for site in SITES},
        "tables": {"core.customers": {"cells": {"a": {"2": {"rows": 7, "rewrapped": 0, "shredded": 0}}},
                                      "seals": {"2": 21}}},
    },
    "backup status": [
        {"cell": "a", "site": "idc", "good": True, "newest_full": AT, "newest_incremental": None,
         "from": AT, "to": AT, "lag_seconds": 0.4, "lag_bytes": 0, "last_verified_restore": {"at": AT},
         "findings": []},
        {"cell": "b", "site": "cloud", "good": False, "findings": ["nothing was ever archived"]},
    ],
    "backup list": [{"site": "idc", "cell": "a", "label": "20261122T153501977Z-full", "kind": "full",
                     "parent": None, "ended": AT, "timeline": 1, "bytes": 39_700_000, "seconds": 4.9}],
    "audit status": {"idc": {"checkpoint": 7, "checkpoint_at": AT, "lost": [], "sealed": 9}, "cloud": None},
    "audit search": {"looked": 40, "window": 20_000, "entries": [
        {"cell": "a", "number": 5, "sealed": True,
         "line": {"at": AT, "what": "staff.looked", "of": LOOK, "actor": "staff:li.wei"}}]},
    "audit export": {"entries": 40},
    "audit verify": {"holds": False, "first": {"where": "a", "number": 3, "text": "edited"}, "findings": [],
                     "entries": 40, "blocks": 2, "signatures": 2, "unsealed": 1},
    "risk indicators": {"stopped": [], "indicators": [
        {"id": "npl_ratio", "domain": "x", "name": {"zh": "不良贷款率", "en": "Non-performing loans"},
         "partner": None, "state": state, "value": value, "bounds": "<= 0.05", "owner": "chief risk officer"}
        for state, value in (("within", "0.0100"), ("breached", "0.0700"), ("unknown", None))]},
    "ledger balances": {"unbalanced": [], "balances": [
        {"account": str(1300 + n), "name": "loans", "balance_fen": 100 * n} for n in range(9)]},
    "payouts": {"counts": {"paid": 5, "unknown": 1}, "waiting": [], "channels": {"idc": {"icbc": "closed"},
                                                                                 "cloud": {}}},
    "day-end status": [{"cell": "a", "day_end_of": "2026-11-21", "days_late": 1},
                       {"cell": "b", "away": True, "days_late": 0, "day_end_of": None}],
    "metrics run": {"metrics": [
        {"id": "overdue_share", "name": {"zh": "逾期率", "en": "Overdue"}, "owner": "chief risk officer",
         "unit": "share", "kind": "ratio", "dimensions": ["product", "region"], "on": "2026-11-21",
         "total": "0.0612", "rows": [
            {"dimensions": {"product": "instalment-12", "region": "31"}, "value": "0.0700"},
            {"dimensions": {"product": "instalment-12", "region": "44"}, "value": "0.0100"}],
         "alerts": [OVERDUE]},
        {"id": "drawn", "name": {"zh": "放款金额", "en": "Principal drawn"}, "owner": "head of products",
         "unit": "fen", "kind": "sum", "dimensions": [], "on": "2026-11-21", "total": "123456",
         "rows": [{"dimensions": {}, "value": "123456"}], "alerts": []},
        {"id": "debits_paid_share", "name": {"zh": "代扣成功率", "en": "Debits paid"}, "unit": "share",
         "owner": "head of operations", "kind": "ratio", "dimensions": [], "on": "2026-11-21", "total": None,
         "rows": [], "alerts": [OVERDUE | {"id": "debits_fail", "per": [], "operator": "below"}]}]},
    "metrics check": {"opened": 0, "fired": [
        {"alert": "region_overdue", "name": OVERDUE["name"], "metric": "overdue_share", "operator": "above",
         "dimensions": {"region": "31"}, "threshold": "0.05", "value": "0.0700", "on": "2026-11-21",
         "action": "risk_check", "owner": "chief risk officer"}]},
    "metrics tasks": {"tasks": [
        {"task_id": 3, "alert": "region_overdue", "metric": "overdue_share", "dimensions": '{"region": "31"}',
         "value": "0.07000000", "threshold": "0.05", "on_date": "2026-11-20", "action": "risk_check",
         "owner": "chief risk officer", "closed_by": None, "note": None},
        {"task_id": 4, "alert": "gone", "metric": "gone", "dimensions": "{}", "value": "7.00000000",
         "threshold": "5", "on_date": "2026-11-20", "action": "service_check", "owner": "head of service",
         "closed_by": None, "note": None}]},
    "report status": [{"batch_id": "east-20261122-001", "kind": "east", "day": "2026-11-22", "version": 1,
                       "sm3": "ab" * 32, "manifest": None, "state": "rejected", "number": 3, "receipt": "R-1",
                       "note": "", "corrects": None}],
    "report feedback": [{"table": "201", "key": "L1", "field": "BALANCE", "text": "must not be empty"}],
    "controls run": {},
}  # fmt: skip


async def say(commands: Commands) -> Sequence[Mapping[str, Any]]:
    """Answer as the commands of `biyi` would."""
    found = []
    for words in commands:
        said = SAID.get(" ".join(words[:2]), SAID.get(words[0]))
        found.append({"exit": 0, "out": json.dumps(said), "err": ""})
    return found
