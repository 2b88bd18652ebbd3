"""Runbook: a staff account was taken over; shut it at once, prove what it did, let only two people reopen it.

When: as soon as somebody reports a lost device, an unknown login, or behaviour scoring names a person; as a
drill quarterly and after any change to `compliance.access`. In earnest: `biyi staff disable NAME`, then
`biyi ueba explain NAME --date DAY` and `biyi audit export`; reopening is `biyi staff reset NAME`, by two.
Who approves: a system administrator runs it, a security administrator approves it; both on the stand too.
Expected time: about 60 s; 6 s of load, a few seconds of the thief's looks, 15 s until both sites have scored
them (limit 60 s), 4 s more. Source: the pauses below.
Abort rule: Ctrl-C at any time; the drill's account is disabled whatever happens.

Steps: check -> load -> make an account for the drill, give it a role under this drill's approval -> its owner
logs in -> a thief with its session looks at customers through both sites -> the same session from another
address is refused -> disable the account -> the session is refused at both sites, so is the password -> one
person alone cannot reopen it -> both sites' scoring has each look once -> stop the load -> resolve -> read
the final rows -> verify the audit trail -> judge.
"""

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from compliance.access import accounts, approvals
from compliance.access.approvals import Asked
from compliance.access.desk import Desk, Session
from compliance.access.errors import AccessRefused
from compliance.access.passwords import make_password
from compliance.access.roles import Role
from replication.model import DATA_SITES, Site
from replication.tls import public_tls
from runbooks.drills.approval import APPROVER, read_session
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_requests
from runbooks.drills.read_rows import connect_granted
from runbooks.drills.read_scored import days_since, read_day, wait_for_counts
from runbooks.drills.records import History
from runbooks.drills.scene import DrillOptions, DrillRefused, Scene, read_drill_settings
from runbooks.drills.scored import Acted, find_doubled, find_lost
from runbooks.drills.verdict import limit_finding
from runbooks.lending_core import open_portal

LOOKS = 24
"""Looks of the thief. Source: our choice, a dozen by each site; far above what a branch does in a minute."""
SHUT_S = 1.0
"""From the act to the session refused at both sites. Source: our choice; roles are read at each request."""
THIEF_ADDRESS = "127.0.0.2"
"""Where the stolen session is tried from. Source: another address of the loopback (RFC 5735)."""
_PATIENCE_S = 10.0
_REFUSED = 401
_OWNER_TERMINAL = {"Biyi-Terminal": "drill"}
_CUSTOMERS = "select customer_id from core.customers order by customer_id limit %s"


@dataclass(slots=True)
class Case:
    """The account, whoever acts against it, and what came of it."""

    staff: str
    by: Session
    approval: str
    began_on: dt.date
    token: str = ""
    password: str = ""
    looks: set[str] = field(default_factory=set)


def make_staff_compromise(options: DrillOptions) -> OneFault:
    """Return the drill; it acts for whoever asked, under the approval it was given: DrillRefused without."""
    name, approval = f"drill.{secrets.token_hex(4)}", options.approval.get("approval")
    if approval is None:
        raise DrillRefused("it takes administrators: `biyi staff init`, then run it as one of them")

    async def begin(scene: Scene) -> None:
        async with open_portal() as portal:
            await _take_over_and_shut(scene, portal.desk, name, approval)

    async def heal(scene: Scene) -> None:
        await _shut(scene, name)

    return OneFault(
        drill="staff-compromise",
        site="",
        viewer=Site.IDC,
        title=("Staff account compromise drill", "员工账号失陷处置演练"),
        told=(
            f"A thief used the session of the account {name} to look at customers through both sites; a "
            "system administrator shut the account.",
            f"盗用者持账号 {name} 的会话，经两个站点查看客户；系统管理员随后禁用该账号。",
        ),
        begin=begin,
        heal=heal,
        lasts_s=0.0,
        limits=judge_compromise,
        words="staff-compromise",
    )


def judge_compromise(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """Each promise of the runbook has a mark that says it was seen; one that was not seen is red."""
    seen = {mark.name: mark for mark in history.marks}
    shut_ns, refused_ns = history.mark_ns("disabled"), history.mark_ns("sessions_refused")
    seconds = (refused_ns - shut_ns) / 1e9 if shut_ns is not None and refused_ns is not None else None
    late = seconds is None or seconds > SHUT_S
    differs = seen.get("scoring_differs")
    unscored = "it was not looked at" if differs is None else differs.text
    said = "never" if seconds is None else f"after {seconds:.2f} s"
    return (
        limit_finding("sessions_ended_in_time", [f"{said}, limit {SHUT_S:g} s"] if late else [], 1),
        *(
            limit_finding(name, [] if name in seen else [f"not seen: {missing}"], 1)
            for name, missing in (
                ("stolen_session_bound_to_address", "the session was served at another address"),
                ("password_refused", "the right password still opened the account"),
                ("reopening_takes_two", "one person alone could reopen the account"),
                ("changes_name_who_and_why", "the acts on the account are not all written down"),
                ("scoring_saw_each_look", unscored),
            )
        ),
        judge_requests(history),
        judge_epochs(history, homes),
    )


async def _take_over_and_shut(scene: Scene, desk: Desk, name: str, approval: str) -> None:
    try:
        case = Case(name, await read_session(desk), approval, read_day())
        customers = await _read_customers(scene)
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        connector = aiohttp.TCPConnector(ssl=public_tls(scene.settings.tls_dir))
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as http:
            await _make_account(scene, desk, http, case)
            await _look_around(scene, http, case, customers)
            await _try_elsewhere(scene, case)
            await _disable(scene, desk, http, case)
            await _try_to_reopen(scene, desk, case)
        await _check_changes(scene, desk, case)
        await _check_scoring(scene, case)
    except AccessRefused as refusal:
        raise DrillRefused(f"refused by access control: {refusal.detail}") from refusal


async def _read_customers(scene: Scene) -> list[str]:
    found: list[str] = []
    for grant in scene.watch.grants.values():
        async with await connect_granted(scene.settings, grant) as connection:
            cursor = await connection.execute(_CUSTOMERS, [LOOKS])
            found += [str(row[0]) for row in await cursor.fetchall()]
    return found


async def _make_account(scene: Scene, desk: Desk, http: aiohttp.ClientSession, case: Case) -> None:
    scene.mark("prepare_account", f"make the account {case.staff}, its owner logs in")
    first = await accounts.add_account(desk, case.by, case.staff, "drill")
    await accounts.set_roles(desk, case.by, case.staff, [Role.SERVICE], case.approval)
    url = scene.load.entrances[str(DATA_SITES[0])]
    case.password = make_password()
    given = await _log_in(http, url, case.staff, first)
    body = {"old_password": first, "new_password": case.password}
    async with http.post(f"{url}/v1/staff/password", json=body, headers=_bearer(given)) as answer:
        await _need(answer, 200, "the owner's first password could not be changed")
    case.token = await _log_in(http, url, case.staff, case.password)


async def _log_in(http: aiohttp.ClientSession, url: str, staff: str, password: str) -> str:
    body = {"staff": staff, "password": password}
    async with http.post(f"{url}/v1/staff/sessions", json=body, headers=_OWNER_TERMINAL) as answer:
        await _need(answer, 201, "the drill's account could not log in")
        return str((await answer.json())["token"])


async def _look_around(
    scene: Scene, http: aiohttp.ClientSession, case: Case, customers: Sequence[str]
) -> None:
    """The thief looks at customers through both sites, with the owner's session."""
    scene.mark("fault", f"a thief has the session of {case.staff} and looks at customers through both sites")
    for number in range(LOOKS):
        url = scene.load.entrances[str(DATA_SITES[number % len(DATA_SITES)])]
        path = f"{url}/v1/staff/customers/{customers[number % len(customers)]}/looks"
        async with http.post(
            path, json={"purpose": "customer_request"}, headers=_bearer(case.token)
        ) as answer:
            await _need(answer, 201, "the thief was refused before anybody acted")
            case.looks.add(str((await answer.json())["look_id"]))


async def _try_elsewhere(scene: Scene, case: Case) -> None:
    tls = public_tls(scene.settings.tls_dir)
    connector = aiohttp.TCPConnector(ssl=tls, local_addr=(THIEF_ADDRESS, 0))
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
        if await _status(http, scene.load.entrances[str(DATA_SITES[0])], case.token) == _REFUSED:
            scene.mark("stolen_session_bound_to_address", f"from {THIEF_ADDRESS} the session is refused")


async def _disable(scene: Scene, desk: Desk, http: aiohttp.ClientSession, case: Case) -> None:
    scene.intend(f"disable {case.staff}", f"biyi staff enable {case.staff}")
    at_ns = time.monotonic_ns()
    await accounts.disable(desk, case.by, case.staff)
    scene.mark("disabled", f"{case.by.staff} has disabled {case.staff}", at_ns)
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s:
        urls = [scene.load.entrances[str(site)] for site in DATA_SITES]
        answers = [await _status(http, url, case.token) for url in urls]
        if all(status == _REFUSED for status in answers):
            scene.mark("sessions_refused", "both sites refuse the session")
            break
        await asyncio.sleep(0.05)
    body = {"staff": case.staff, "password": case.password}
    async with http.post(f"{urls[0]}/v1/staff/sessions", json=body, headers=_OWNER_TERMINAL) as answer:
        if answer.status == _REFUSED:
            scene.mark("password_refused", "the right password does not open it any more")


async def _try_to_reopen(scene: Scene, desk: Desk, case: Case) -> None:
    """Whoever asks may not decide: the act stays undone until somebody else comes."""
    route = "POST /v1/staff/accounts/{staff}/enable"
    asked = Asked(route, f"/v1/staff/accounts/{case.staff}/enable", {}, case.staff)
    row = await approvals.ask_approval(desk, case.by, asked, APPROVER)
    try:
        await approvals.decide_approval(desk, case.by, str(row["approval_id"]), granted=True)
    except AccessRefused as refusal:
        scene.mark("reopening_takes_two", f"alone, {case.by.staff} is told: {refusal.detail}")


async def _check_changes(scene: Scene, desk: Desk, case: Case) -> None:
    rows = [row for row in await accounts.list_changes(desk, 100) if row["staff"] == case.staff]
    acts = {str(row["what"]): row for row in rows if row["done_by"] == case.by.staff}
    approved = "roles_set" in acts and str(acts["roles_set"]["approval"]) == case.approval
    if {"added", "roles_set", "disabled"} <= acts.keys() and approved:
        scene.mark("changes_name_who_and_why", f"written down: {', '.join(sorted(acts))} by {case.by.staff}")


async def _check_scoring(scene: Scene, case: Case) -> None:
    scene.mark("scoring", f"wait until both sites' scoring has the {len(case.looks)} looks")
    acted, days = {case.staff: Acted(frozenset(case.looks))}, days_since(case.began_on)
    sites = {site: read_drill_settings(scene.options.home, site) for site in DATA_SITES}
    found = await asyncio.gather(*(wait_for_counts(one, acted, days) for one in sites.values()))
    faults = [
        f"{site} {verb} {what}"
        for site, counted in zip(sites, found, strict=True)
        for verb, faulty in (("lacks", find_lost), ("counted too much", find_doubled))
        for what in faulty(acted, counted)
    ]
    if faults:
        scene.mark("scoring_differs", "; ".join(faults))
    else:
        scene.mark("scoring_saw_each_look", f"each of {len(case.looks)} looks is scored once at both sites")


async def _shut(scene: Scene, name: str) -> None:
    """Whatever happened: the drill's account is disabled."""
    async with open_portal() as portal:
        rows = await accounts.list_accounts(portal.desk)
        if any(row["staff"] == name and not row["disabled"] for row in rows):
            await accounts.disable(portal.desk, await read_session(portal.desk), name)
    scene.mark("healed", f"the account {name} is shut")


async def _status(http: aiohttp.ClientSession, url: str, token: str) -> int:
    async with http.get(f"{url}/v1/staff/standing", headers=_bearer(token)) as answer:
        return answer.status


async def _need(answer: aiohttp.ClientResponse, status: int, why: str) -> None:
    if answer.status != status:
        raise DrillRefused(f"{why}: {answer.status} {(await answer.text())[:200]}")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
