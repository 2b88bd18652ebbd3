"""Carry out an approved root operation at both sites; the same request again goes on where it was cut off."""

import datetime as dt
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes

from compliance.protection.approvals import LONGEST, Approval, Operation, Request
from compliance.protection.errors import ApprovalRefused
from compliance.protection.ring import State
from compliance.protection.ring_keeper import LocalKeeper
from core_app.customers.reseal import forget_customer, reopen_version
from core_app.ids import is_customer_id
from replication.settings import SiteSettings
from runbooks.keys.cells import run_in_cell
from runbooks.keys.documents import keep_receipt
from runbooks.keys.people import check_people, named_holders, note_operation

RECEIPTS = "receipts"


def ask(
    operation: Operation, about: Mapping[str, str], keepers: Mapping[str, LocalKeeper], now: dt.datetime
) -> Request:
    """Return a request for the rings as they stand; ApprovalRefused for what is no such operation."""
    if operation is Operation.SHRED and not is_customer_id(about.get("subject", "")):
        raise ApprovalRefused("shred: needs the id of a customer (C and 24 hexadecimal digits)")
    generations = {site: keeper.head().generation for site, keeper in keepers.items()}
    return Request(operation, about, generations, now, now + LONGEST)


async def carry_out(
    request: Request,
    approvals: Sequence[Approval],
    keepers: Mapping[str, LocalKeeper],
    settings: SiteSettings,
    now: dt.datetime,
) -> list[dict[str, Any]]:
    """Do it at every site, then in the customer's cell; return the receipts of a shredding.

    ApprovalRefused, RingRefused: nothing was done at the site named, what other sites did stands. Nothing
    at all is done when a holder is no member of staff who may (`people.py`).
    """
    if set(request.generations) != set(keepers):
        raise ApprovalRefused(
            f"request for the rings of {', '.join(sorted(request.generations))}: found those of "
            f"{', '.join(sorted(keepers))}; it is done at every site or at none"
        )
    holders = {name for keeper in keepers.values() for name in keeper.head().holders}
    names = named_holders(request, (approval.holder for approval in approvals), holders)
    first = settings.cells[0].name  # where accounts live (decision 026)
    await run_in_cell(settings, first, functools.partial(check_people, names=names))
    receipts = []
    for site, keeper in sorted(keepers.items()):
        kept = _receipt_of(keeper.path.parent, request)
        if kept is None and not _was_done(request, site, keeper):
            receipt = keeper.carry_out(request, approvals, now)
            kept = keep_receipt(keeper.path.parent / RECEIPTS, receipt) if receipt is not None else None
        if kept is not None:
            receipts.append({"site": site, "file": str(kept)})
    if names:
        await run_in_cell(settings, first, functools.partial(note_operation, request=request, names=names))
    if request.operation is Operation.SHRED:
        await _forget(request.about["subject"], settings)
    if request.operation is Operation.REOPEN:
        about = request.about
        work = functools.partial(reopen_version, version=int(about["version"]), table=about["table"])
        for cell in settings.cells:
            await run_in_cell(settings, cell.name, work)
    return receipts


async def _forget(subject: str, settings: SiteSettings) -> None:
    """Forget the customer in the one cell that has the row, wherever its slot has moved to."""
    work = functools.partial(forget_customer, customer_id=subject)
    for cell in settings.cells:
        if await run_in_cell(settings, cell.name, work):
            return
    raise ApprovalRefused(
        f"{subject}: no cell has such a customer; the key is destroyed at every site all the same"
    )


def _was_done(request: Request, site: str, keeper: LocalKeeper) -> bool:
    """Say whether this site has carried the request out before; a shredding is known by its receipt."""
    head, about = keeper.head(), request.about
    match request.operation:
        case Operation.DESTROY:
            return head.states[about["table"]].get(about["version"]) == State.DESTROYED
        case Operation.REOPEN:
            return head.states[about["table"]].get(about["version"]) == State.OLD
        case Operation.HOLDERS:
            return head.holders == about
        case Operation.CHANGE_ROOT:
            return bool(head.root == json.loads(about[site]))
        case Operation.SHRED:
            return False


def _receipt_of(folder: Path, request: Request) -> Path | None:
    if request.operation is not Operation.SHRED:
        return None
    digest = hashes.Hash(hashes.SM3())
    digest.update(request.text())
    path = folder / RECEIPTS / f"{request.about['subject']}-{digest.finalize().hex()[:16]}.json"
    return path if path.exists() else None
