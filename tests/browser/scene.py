"""The stand that the browser tests look at: `python -m tests.browser.scene up HOME [--rich]`, `down HOME`.

Run by the project's own interpreter; the tests have one that knows Playwright and nothing of ours. `up`
prints one JSON object: the consoles' addresses, everybody's password and second factor, a customer, a case.
`--rich` adds what takes minutes: a made-up organisation that was scored, an evidence pack, day-end, filings.
"""

import asyncio
import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import click
from psycopg.types.json import Jsonb

from compliance.access.passwords import hash_password
from compliance.access.roles import Role
from compliance.access.second_factor import make_secret
from core_app.business_calendar import business_date_at
from core_app.staff.portal import Portal
from core_app.staff.pseudonyms import staff_namer
from replication.model import DATA_SITES, Site
from replication.tls import public_tls
from runbooks.cells import site_settings
from runbooks.lending_core import open_portal
from runbooks.stand.certificates import tls_dir
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.topology import read_stand
from runbooks.stand.up import down, up
from ueba.collect import read_portal_rows
from ueba.events import Event
from ueba.portal import read_row
from ueba.watcher import read_pseudonyms

PASSWORD = "Console-horse-7-battery"
PEOPLE = {
    "an.bo": Role.SYSTEM_ADMIN, "chen.yu": Role.SECURITY_ADMIN, "deng.li": Role.AUDIT_ADMIN,
    "li.wei": Role.SERVICE, "sun.hui": Role.SUPERVISOR,
}  # fmt: skip
PERSON = {"name": "张三", "id_number": "11010519491231002X", "phone": "13800138000"}
COMPLAINTS = 23
"""More than the rule complaints_of_collection lets pass in seven days (core_app/insight/alerts.yaml)."""
_SEAT = """
insert into access.accounts (staff, branch, roles, password_hash, password_given, totp_secret, totp_confirmed)
values (%(staff)s, 'branch-7', %(roles)s, %(hash)s, %(first)s, %(sealed)s, %(sealed)s::bytea is not null)
"""
NEWCOMERS = MappingProxyType({"wu.xin": Role.SERVICE, "xu.lan": Role.AUDIT_ADMIN})
"""Who have a first password and no second factor yet."""
_PUBLISH = "insert into watch.publications (day, scores, card) values (%s, %s, %s)"
_CASE = """
insert into watch.cases (case_id, day, subject, place, why, score, level, fresh, slow, document)
values (%s, %s, %s, 1, %s, %s, %s, %s, 0.3, %s)
"""


def made_document(day: dt.date) -> dict[str, Any]:
    """Return a case as `biyi ueba publish` writes it."""
    reason = {
        "family": "volume", "text": "how much was looked at", "text_zh": "查看数量", "measure": "customers",
        "over": "day", "digits": 2.1, "share": 0.7, "value": 46.0, "own_usual": 11.0, "own_days": 30,
        "peers_usual": 12.5, "since": day.isoformat(),
    }  # fmt: skip
    begin = dt.datetime.combine(day, dt.time(1), dt.UTC)
    events = [
        {"event_id": f"v{n}", "at": (begin + dt.timedelta(minutes=11 * n)).isoformat(), "action": "view",
         "customer": hashlib.sha256(f"customer {n}".encode()).hexdigest()[:20],
         "terminal": "branch-7-12", "site": "idc", "system": "portal",
         "purpose": "customer_request", "assigned": n % 3 == 0, "dwell_ms": 4000 + 700 * n, "result": "ok"}
        for n in range(46)
    ]  # fmt: skip
    return {
        "role": "service", "branch": "branch-7", "rules": [], "accumulated": [], "today": [reason],
        "lines": [], "events": events, "events_left_out": 0,
    }  # fmt: skip


async def seat(portal: Portal, people: Mapping[str, Role] = MappingProxyType(PEOPLE)) -> dict[str, str]:
    """Make everybody's account; return their second factors."""
    desk, secrets = portal.desk, {}
    for staff, role in people.items():
        secrets[staff] = make_secret()
        hashed = await asyncio.to_thread(hash_password, desk.digest, staff, PASSWORD)
        values = {
            "staff": staff, "roles": [str(role)], "hash": hashed,
            "sealed": desk.seal(staff, secrets[staff]), "first": False,
        }  # fmt: skip
        await desk.directory.write(lambda c, values=values: c.execute(_SEAT, values))
    return secrets


async def seat_newcomers(portal: Portal) -> None:
    """Make the accounts of people on their first day."""
    for staff, role in NEWCOMERS.items():
        hashed = await asyncio.to_thread(hash_password, portal.desk.digest, staff, PASSWORD)
        values = {"staff": staff, "roles": [str(role)], "hash": hashed, "sealed": None, "first": True}
        await portal.desk.directory.write(lambda c, values=values: c.execute(_SEAT, values))


async def publish(portal: Portal) -> str:
    """Publish a day on which li.wei looked at many, and an earlier one; return the case."""
    subject = staff_namer(portal.desk.digest)("li.wei")
    today = business_date_at(dt.datetime.now(dt.UTC))
    case = ""
    for days, score, level, why in ((9, 38.2, "low", "random"), (1, 91.4, "critical", "fresh")):
        day, case = today - dt.timedelta(days=days), f"W-{uuid.uuid4().hex}"
        row = [case, day, subject, why, score, level, score / 20, Jsonb(made_document(day))]
        await portal.desk.directory.write(
            lambda c, day=day: c.execute(_PUBLISH, [day, uuid.uuid4().hex * 2, Jsonb({})])
        )
        await portal.desk.directory.write(lambda c, row=row: c.execute(_CASE, row))
    return case


async def lend(home: Path) -> str:
    """Register the customer that staff look for, who complains often enough for an alert; return the id."""
    token = biyi(home, "token", "channel", "app").stdout.strip()
    url = f"https://127.0.0.1:{read_stand(home).port(Site.IDC, 'api')}/v1"
    tls = public_tls(tls_dir(home, Site.IDC))

    async def post(number: int, path: str, body: object) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"browser-{number:04}"}
        async with http.post(url + path, json=body, headers=headers, ssl=tls) as answer:
            made = await answer.json()
            assert answer.status == 201, made
            return made

    async with aiohttp.ClientSession() as http:
        customer = str((await post(0, "/customers", PERSON))["customer_id"])
        said = {"customer_id": customer, "about": "collection", "words": "Called again after eight at night."}
        for number in range(1, COMPLAINTS + 1):
            await post(number, "/complaints", said)
    return customer


def biyi(home: Path, *words: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a command of the operator for this stand; what it complains of goes to stderr."""
    begun_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "runbooks.cli", *words], env={**os.environ, "BIYI_HOME": str(home)},
        stdout=subprocess.PIPE, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    click.echo(f"biyi {' '.join(words)}: {done.returncode}, {time.monotonic() - begun_s:.1f} s", err=True)
    return done


def enrich(home: Path) -> None:
    """Fill every page with what real work leaves; nothing here is made for the pictures."""
    biyi(home, "drill", "run", "planned-move", "--rounds", "1", "--execute", "--json", "--no-live")
    made = str(home / "ueba-made")
    biyi(
        home,
        "ueba",
        "generate",
        "--home",
        made,
        "--staff",
        "120",
        "--days",
        "75",
        "--first",
        "50",
        "--cases",
        "1",
    )
    for step in ("score", "publish"):
        biyi(home, "ueba", step, "--home", made, "--date", "2026-03-13")
    biyi(home, "day-end", "run", "--ahead", "--json")
    evening = business_date_at(dt.datetime.now(dt.UTC)).isoformat()
    for kind in ("east", "1104"):
        how = ("--date", evening, "--first", "--kind", kind, "--out", str(home / "filings"), "--json")
        found = biyi(home, "report", "run", *how)
        for batch in json.loads(found.stdout or "[]"):
            if batch["batch_id"]:
                biyi(home, "report", "submit", batch["batch_id"])
    biyi(home, "backup", "now", "--full", "--json")
    biyi(home, "controls", "run", "--json")


async def make(home: Path) -> dict[str, Any]:
    """Return what the tests have to know of a stand that is up."""
    async with open_portal() as portal:
        secrets, case = await seat(portal), await publish(portal)
        await seat_newcomers(portal)
    stand = read_stand(home)
    urls = {str(site): f"https://127.0.0.1:{stand.port(site, 'console')}" for site in DATA_SITES}
    return {
        "home": str(home), "urls": urls, "password": PASSWORD, "secrets": secrets, "case": case,
        "customer": await lend(home), "person": PERSON,
        "roles": {staff: str(role) for staff, role in PEOPLE.items()},
    }  # fmt: skip


@click.group()
def main() -> None:
    """Bring up, ask and take down the stand of the browser tests."""


@main.command("up")
@click.argument("home", type=click.Path(path_type=Path))
@click.option("--rich", is_flag=True)
def up_command(home: Path, rich: bool) -> None:
    """Bring the stand up with people and data."""
    os.environ["BIYI_HOME"] = str(home)
    asyncio.run(up(home, UpOptions(backups=rich)))
    made = asyncio.run(make(home))
    if rich:
        enrich(home)
    else:
        biyi(home, "day-end", "run", "--ahead", "--json")
    biyi(home, "metrics", "check", "--open", "--json")
    click.echo(json.dumps(made))


@main.command("scored")
@click.argument("home", type=click.Path(path_type=Path))
@click.argument("staff")
def scored_command(home: Path, staff: str) -> None:
    """Print what behaviour scoring takes in of somebody's acts today, and each watcher's score so far."""
    os.environ["BIYI_HOME"] = str(home)
    site = site_settings()[Site.CLOUD]
    names = read_pseudonyms(site.key_file)
    begin = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    rows = asyncio.run(read_portal_rows(site, begin))
    events = [found for row in rows if isinstance(found := read_row(row, names), Event)]
    token = names.staff(staff)
    watched = json.loads(biyi(home, "ueba", "watch", "--most", "50", "--json").stdout)
    scores = {at: [one["score"] for one in found["staff"] if one["staff"] == token]
              for at, found in watched.items() if found}  # fmt: skip
    click.echo(
        json.dumps({"actions": [one.action for one in events if one.staff == token], "scores": scores})
    )


@main.command("site")
@click.argument("home", type=click.Path(path_type=Path))
@click.argument("act", type=click.Choice(["kill", "start"]))
def site_command(home: Path, act: str) -> None:
    """Lose the data centre, or bring it back."""
    if biyi(home, "site", act, "idc").returncode:
        sys.exit(1)


@main.command("down")
@click.argument("home", type=click.Path(path_type=Path))
def down_command(home: Path) -> None:
    """Take the stand down and wipe it."""
    os.environ["BIYI_HOME"] = str(home)
    down(home)
    wipe(home)


if __name__ == "__main__":
    main()
