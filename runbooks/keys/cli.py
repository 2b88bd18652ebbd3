"""Commands `biyi keys`: exit 0 done, 1 refused or failed, 2 usage, 3 a cell could not be reached."""

import asyncio
import datetime as dt
import json
import secrets
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from compliance.protection.approvals import Approval, Operation, Request
from compliance.protection.errors import ProtectionError
from compliance.protection.receipt import find_sites_without, is_genuine
from compliance.protection.ring_keeper import LocalKeeper
from compliance.protection.vault import open_vault
from core_app.customers.reseal import SEALED_TABLES, TABLE, SealedTable, VersionUse, count_uses
from replication.model import DATA_SITES, Site
from replication.settings import SiteSettings
from runbooks.keys.cells import CellSilent, Connection, run_in_cell
from runbooks.keys.documents import make_holder_key, read_asked, read_holder_key, write_asked
from runbooks.keys.root_operations import ask, carry_out
from runbooks.keys.rotate import Rotated, Rotation, RotationStuck
from runbooks.stand.home import default_home
from runbooks.stand.topology import StandError, outside_settings, read_stand

P = ParamSpec("P")
R = TypeVar("R")
SEALS_CAP = 2**31
"""Seals of one key after which it should be rotated. Source: research/compliance.md 2.4: random 96-bit
nonces allow 2**32 fields a key; half of it leaves time."""
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
_file = click.Path(dir_okay=False, path_type=Path)


def _says_what_failed(command: Callable[P, R]) -> Callable[P, R]:
    @wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except CellSilent as error:
            click.echo(f"biyi keys: {error}; look at `biyi cells`, then run it again", err=True)
            sys.exit(3)
        except (ProtectionError, RotationStuck, StandError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group()
def keys() -> None:
    """Keys of personal data: what is in use, rotation, and what takes two people.

    \b
    biyi keys status                                     versions, rows, how often each was used
    biyi keys rotate                                     a new key while both sites write; resumable
    biyi keys holder zhang --out zhang.key               a holder's SM2 key
    biyi keys ask set-holders zhang=<public> li=<public> --out r.json     names of accounts (biyi staff)
    biyi keys carry-out r.json --execute                 the first holders need nobody's approval
    biyi keys ask shred C0123... --out r.json            then each holder, on a machine of their own:
    biyi keys approve r.json --holder zhang --key zhang.key
    biyi keys carry-out r.json --execute                 destroys one customer's key at both sites
    biyi keys verify RECEIPT...                          are these receipts genuine?
    """


def _keepers() -> dict[str, LocalKeeper]:
    stand = read_stand(default_home())
    return {str(site): LocalKeeper(stand.ring_path(site)) for site in DATA_SITES}


def _settings() -> SiteSettings:
    return outside_settings(read_stand(default_home()))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - a command is a shell: it reads the clock


@keys.command("status")
@_json
@_says_what_failed
def status_command(as_json: bool) -> None:
    """Show each site's key versions, the rows under them in each cell, and how often each was used."""
    heads = {site: keeper.head() for site, keeper in _keepers().items()}
    uses = {name: _run(_count(_settings(), table)) for name, table in SEALED_TABLES.items()}
    plain = {
        "sites": {
            site: {"generation": head.generation, "root": head.root["kind"], "holders": sorted(head.holders),
                   "states": head.states}
            for site, head in heads.items()
        },
        "tables": {
            name: {
                "cells": {cell: {v: asdict(use) for v, use in one.items()} for cell, one in found.items()},
                "seals": _seals(found, len(SEALED_TABLES[name].columns)),
            }
            for name, found in uses.items()
        },
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(plain))
        return
    cells = next(iter(uses.values()))
    table = Table(
        "table",
        "version",
        *heads,
        *(f"rows in {cell}" for cell in cells),
        "seals",
        box=None,
        header_style="bold",
    )
    for name, found in uses.items():
        seals = _seals(found, len(SEALED_TABLES[name].columns))
        for version in sorted({v for head in heads.values() for v in head.states[name]}, key=int):
            states = [head.states[name].get(version, "-") for head in heads.values()]
            rows = [str(one[int(version)].rows if int(version) in one else 0) for one in found.values()]
            used = seals.get(int(version), 0)
            table.add_row(name, version, *states, *rows, f"{used:,} ({used / SEALS_CAP:.2%} of the cap)")
    Console().print(table)


def _seals(uses: Mapping[str, Mapping[int, VersionUse]], columns: int) -> dict[int, int]:
    """Return how many fields were ever sealed and committed under each version; `columns` a row."""
    seals: dict[int, int] = {}
    for found in uses.values():
        for version, use in found.items():
            seals[version] = seals.get(version, 0) + columns * (use.rows + use.rewrapped + use.shredded)
    return seals


async def _count(settings: SiteSettings, table: SealedTable) -> dict[str, dict[int, VersionUse]]:
    async def work(connection: Connection) -> dict[int, VersionUse]:
        return await count_uses(connection, table)

    return {cell.name: await run_in_cell(settings, cell.name, work) for cell in settings.cells}


@keys.command("rotate")
@click.option(
    "--rate",
    type=click.FloatRange(10, 1e6),
    default=2000.0,
    show_default=True,
    help="Rows re-wrapped a second.",
)
@click.option("--resume", is_flag=True, help="Only carry on a rotation that was cut off; begin none.")
@_json
@_says_what_failed
def rotate_command(rate: float, resume: bool, as_json: bool) -> None:
    """Give every sealed table a new key while both sites write; about 20 s and 1 s for 2,000 rows.

    Those are the customers and the administrators' second factors; the register says so.

    Cut off at any point, run it again: it goes on where it stood.
    """
    with _progress(hidden=as_json) as (say, advance):
        rotated = _run(rotate(rate, say, advance, begin=not resume))
    click.echo(json.dumps(asdict(rotated)) if as_json else _tell(rotated))


async def rotate(
    rate: float, say: Callable[[str], None], advance: Callable[[int, int], None], *, begin: bool = True
) -> Rotated:
    """Rotate the keys of all sealed tables on the stand of $BIYI_HOME."""
    keepers = _keepers()
    vault = open_vault(keepers[Site.IDC].path)
    return await Rotation(dict(keepers), vault, _settings(), rate, say, advance).run(begin=begin)


def _tell(rotated: Rotated) -> str:
    versions = ", ".join(f"{table} is under version {version}" for table, version in rotated.versions.items())
    cells = ", ".join(
        f"{cell}: {proof.rows_left} values under older ones at {proof.lsn}"
        for cell, proof in rotated.proofs.items()
    )
    return f"{versions}; {rotated.rows} rows re-wrapped; {cells or 'nothing to do'}"


@keys.command("holder")
@click.argument("name")
@click.option("--out", type=_file, required=True, help="Where the private key goes (mode 0600).")
@_says_what_failed
def holder_command(name: str, out: Path) -> None:
    """Make a holder's SM2 key and print NAME=PUBLIC for `ask set-holders`; NAME is that of the account."""
    click.echo(f"{name}={make_holder_key(out).public.hex()}")


@keys.group("ask")
def ask_group() -> None:
    """Write a request for a root operation; it is done once two holders have approved it."""


def _ask(operation: Operation, about: Mapping[str, str], out: Path) -> None:
    request = ask(operation, about, _keepers(), _now())
    write_asked(out, request)
    click.echo(f"{out}: {operation}, valid until {request.expires_at:%Y-%m-%d %H:%M}Z; needs two holders")


_out = click.option("--out", type=_file, required=True, help="Where the request goes.")
_table = click.option(
    "--table", type=click.Choice(list(SEALED_TABLES)), default=TABLE, show_default=True, help="Whose version."
)


@ask_group.command("shred")
@click.argument("customer_id")
@_out
@_says_what_failed
def ask_shred_command(customer_id: str, out: Path) -> None:
    """Destroy one customer's key at both sites: the personal data can never be read again."""
    _ask(Operation.SHRED, {"table": TABLE, "subject": customer_id}, out)


@ask_group.command("destroy")
@click.argument("version", type=int)
@_table
@_out
@_says_what_failed
def ask_destroy_command(version: int, table: str, out: Path) -> None:
    """Destroy a retired version: backups from its time do not open any more."""
    _ask(Operation.DESTROY, {"table": table, "version": str(version)}, out)


@ask_group.command("reopen")
@click.argument("version", type=int)
@_table
@_out
@_says_what_failed
def ask_reopen_command(version: int, table: str, out: Path) -> None:
    """Open values under a retired version again, after a backup of its time was restored."""
    _ask(Operation.REOPEN, {"table": table, "version": str(version)}, out)


@ask_group.command("set-holders")
@click.argument("holders", nargs=-1, required=True, metavar="NAME=PUBLIC...")
@_out
@_says_what_failed
def ask_holders_command(holders: tuple[str, ...], out: Path) -> None:
    """Name all who may approve from now on: security or system administrators, with their public keys."""
    if any("=" not in text for text in holders):
        raise click.UsageError("holders: each needs NAME=PUBLIC, as `biyi keys holder` prints it")
    _ask(Operation.HOLDERS, dict(text.split("=", 1) for text in holders), out)


@ask_group.command("change-root")
@click.argument("roots", nargs=-1, required=True, metavar="SITE=JSON...")
@_out
@_says_what_failed
def ask_root_command(roots: tuple[str, ...], out: Path) -> None:
    """Put each site's ring under another root.

    \b
    biyi keys ask change-root 'idc={"kind":"pkcs11","library":"/usr/lib/softhsm/libsofthsm2.so",
        "token":"biyi","key":"root","pin_file":"pin"}' 'cloud={"kind":"file","file":"root2.key"}' --out r.json
    """
    about = dict(text.split("=", 1) for text in roots if "=" in text)
    if set(about) != {str(site) for site in DATA_SITES}:
        raise click.UsageError("roots: needs one SITE=JSON for each of idc and cloud")
    _ask(Operation.CHANGE_ROOT, about, out)


@keys.command("approve")
@click.argument("request_file", type=_file)
@click.option("--holder", required=True, help="Your name among the holders.")
@click.option("--key", "key_file", type=_file, required=True, help="Your private key.")
@_says_what_failed
def approve_command(request_file: Path, holder: str, key_file: Path) -> None:
    """Sign a request as a holder; it prints what it is you approve."""
    request, approvals = read_asked(request_file)
    signature = read_holder_key(key_file).sign(request.text(), secrets.token_bytes(32))
    others = [approval for approval in approvals if approval.holder != holder]
    write_asked(request_file, request, [*others, Approval(holder, signature)])
    click.echo(f"{holder} approves: {_word(request)}")


@keys.command("carry-out")
@click.argument("request_file", type=_file)
@click.option("--execute", is_flag=True, help="Do it; without this, only say what would be done.")
@_json
@_says_what_failed
def carry_out_command(request_file: Path, execute: bool, as_json: bool) -> None:
    """Carry an approved request out at both sites; every site checks the approvals by itself."""
    request, approvals = read_asked(request_file)
    if not execute:
        click.echo(
            f"would {_word(request)}; approved by {', '.join(a.holder for a in approvals) or 'nobody'}"
        )
        return
    receipts = _run(carry_out(request, approvals, _keepers(), _settings(), _now()))
    if as_json:
        click.echo(json.dumps({"operation": request.operation, "receipts": receipts}))
        return
    click.echo(f"done: {_word(request)}")
    for receipt in receipts:
        click.echo(f"  receipt of {receipt['site']}: {receipt['file']}")


@keys.command("verify")
@click.argument("receipts", nargs=-1, required=True, type=_file)
@_says_what_failed
def verify_command(receipts: tuple[Path, ...]) -> None:
    """Say whether receipts were signed by the sites they name and not changed, and there is one of each site.

    Exit 1 if one was not, or a customer's shredding has no receipt of a site.
    """
    signers = {site: bytes.fromhex(keeper.head().signer) for site, keeper in _keepers().items()}
    plain = {path: json.loads(path.read_text(encoding="utf-8")) for path in receipts}
    genuine = {path: is_genuine(one, signers) for path, one in plain.items()}
    for path, holds in genuine.items():
        click.echo(f"{'genuine' if holds else 'NOT GENUINE'}  {path}")
    missing = find_sites_without([one for path, one in plain.items() if genuine[path]], signers)
    for customer, sites in missing.items():
        click.echo(f"INCOMPLETE   {customer}: no receipt of {', '.join(sites)}")
    sys.exit(0 if all(genuine.values()) and not missing else 1)


def _word(request: Request) -> str:
    about = ", ".join(f"{name} {value}" for name, value in request.about.items())
    return f"{request.operation} ({about})"


def _run(work: Coroutine[Any, Any, R]) -> R:
    return asyncio.run(work)


@contextmanager
def _progress(*, hidden: bool) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("rows", total=None)
        yield (
            lambda text: None if hidden else console.print(text, highlight=False),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
