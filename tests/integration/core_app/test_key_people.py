"""Two holders approve a key operation; each is a member of staff with an open account that may."""

import asyncio
import datetime as dt
import json
import os
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compliance.access.roles import Role
from compliance.protection.approvals import Approval, Operation, Request
from compliance.protection.errors import ApprovalRefused, RingFileError, SubjectShredded
from compliance.protection.fields import CUSTOMER_NAME
from compliance.protection.held_keys import LOOK_EVERY_S
from compliance.protection.receipt import is_genuine
from compliance.protection.ring_keeper import LocalKeeper
from compliance.protection.sm2 import SigningKey, make_signing_key, private_key_of
from compliance.protection.vault import open_vault
from core_app.core import LendingCore
from core_app.staff.portal import make_portal
from runbooks.keys.root_operations import ask, carry_out
from tests.integration.core_app.people import seat
from tests.integration.core_app.test_rotation import CELLS, Site
from tests.integration.core_app.test_rotation import site as site

NOW = dt.datetime(2026, 1, 15, 8, tzinfo=dt.UTC)
KEYS = {name: make_signing_key(private_key_of(os.urandom(32))) for name in ("chen.yu", "an.bo", "he.jing")}
SETTINGS: Any = CELLS
DESTROY = {"table": "core.customers", "version": "1"}


def sign(request: Request, *names: str, keys: dict[str, SigningKey] = KEYS) -> list[Approval]:
    return [Approval(name, keys[name].sign(request.text(), secrets.token_bytes(32))) for name in names]


async def perform(site: Site, operation: Operation, about: dict[str, str], *names: str) -> Any:
    request = ask(operation, about, site.keepers, NOW)
    return await carry_out(request, sign(request, *names), site.keepers, SETTINGS, NOW)


@pytest.fixture
async def staffed(site: Site, core: LendingCore) -> Site:
    portal = make_portal(replace(core, vault=site.vault), core.router.staff)  # type: ignore[attr-defined]
    await seat(portal, "chen.yu", Role.SECURITY_ADMIN)
    await seat(portal, "an.bo", Role.SYSTEM_ADMIN)
    await seat(portal, "he.jing", Role.AUDIT_ADMIN)
    await perform(site, Operation.HOLDERS, {n: KEYS[n].public.hex() for n in ("chen.yu", "an.bo")})
    assert [sorted(keeper.head().holders) for keeper in site.keepers.values()] == [["an.bo", "chen.yu"]] * 2
    return site


async def changes(cells: Any) -> list[tuple[Any, ...]]:
    operations = "select detail ->> 'operation', detail -> 'approved_by' from access.changes"
    return sorted(await cells.rows(f"{operations} where what = 'key_operation'"))


async def test_an_operation_of_two_members_of_staff_is_done_and_written_down_once(
    staffed: Site, cells: Any
) -> None:
    await staffed.rotation().run()
    request = ask(Operation.DESTROY, DESTROY, staffed.keepers, NOW)
    for _ in range(2):  # the second finds it done
        await carry_out(request, sign(request, "chen.yu", "an.bo"), staffed.keepers, SETTINGS, NOW)
    assert {one["1"] for one in staffed.states("core.customers").values()} == {"destroyed"}
    both = ["an.bo", "chen.yu"]
    assert await changes(cells) == [("destroy-version", both), ("set-holders", both)]
    audited = await cells.rows("select line from audit.entries", "biyi_audit")
    told = [json.loads(line) for (line,) in audited if '"keys.operation"' in line]
    assert sorted(entry["body"]["detail"]["operation"] for entry in told) == [
        "destroy-version",
        "set-holders",
    ]


SHUT = [
    ("disabled = true", "disabled = false", "an.bo: the account is disabled or locked"),
    ("locked_until = now() + interval '1 hour'", "locked_until = null", "an.bo: the account is disabled or"),
    ("roles = '{service}'", "roles = '{audit_admin}'", "an.bo: has service, needs"),
    ("disabled = false", "disabled = false", "an.bo: has audit_admin, needs"),
]


async def test_a_holder_whose_account_is_shut_or_of_other_work_approves_nothing(
    staffed: Site, cells: Any
) -> None:
    await staffed.rotation().run()
    for shut, opened, why in SHUT:
        cells.run_sql(cells.databases["a"], f"update access.accounts set {shut} where staff = 'an.bo'")
        with pytest.raises(ApprovalRefused, match=why):
            await perform(staffed, Operation.DESTROY, DESTROY, "chen.yu", "an.bo")
        cells.run_sql(cells.databases["a"], f"update access.accounts set {opened} where staff = 'an.bo'")
    assert {one["1"] for one in staffed.states("core.customers").values()} == {"retired"}
    assert [operation for operation, _ in await changes(cells)] == ["set-holders"]


async def test_nobody_becomes_a_holder_without_an_account_that_may_and_one_is_not_two(staffed: Site) -> None:
    for name, why in (("nobody.here", "no account of this name"), ("he.jing", "has audit_admin, needs")):
        about = {"chen.yu": KEYS["chen.yu"].public.hex(), name: KEYS["he.jing"].public.hex()}
        with pytest.raises(ApprovalRefused, match=why):
            await perform(staffed, Operation.HOLDERS, about, "chen.yu", "an.bo")
    await staffed.rotation().run()
    with pytest.raises(ApprovalRefused, match="approved by 1 of 2 holders"):
        await perform(staffed, Operation.DESTROY, DESTROY, "chen.yu")


async def test_a_customer_is_shredded_at_both_sites_with_a_signed_receipt_of_each(
    staffed: Site, cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between the sites: the same request goes on, and what the first one did is not done again."""
    rows = "select customer_id, name from core.customers order by customer_id"
    (gone, sealed), (stays, kept) = (await cells.rows(rows))[:2]
    request = ask(Operation.SHRED, {"table": "core.customers", "subject": gone}, staffed.keepers, NOW)
    approvals = sign(request, "chen.yu", "an.bo")
    plain = LocalKeeper.carry_out

    def cut_at_idc(keeper: LocalKeeper, *words: Any) -> Any:
        if keeper is staffed.keepers["idc"]:
            raise OSError("the site is away")
        return plain(keeper, *words)

    with monkeypatch.context() as patched:
        patched.setattr(LocalKeeper, "carry_out", cut_at_idc)
        with pytest.raises(OSError, match="away"):
            await carry_out(request, approvals, staffed.keepers, SETTINGS, NOW)
    assert open_vault(staffed.keepers["idc"].path).decrypt(CUSTOMER_NAME, gone, sealed)
    first = staffed.keepers["cloud"].head()

    found = await carry_out(request, approvals, staffed.keepers, SETTINGS, NOW)
    assert staffed.keepers["cloud"].head() == first
    receipts = {one["site"]: json.loads(Path(one["file"]).read_text()) for one in found}
    signers = {name: bytes.fromhex(keeper.head().signer) for name, keeper in staffed.keepers.items()}
    assert signers["idc"] != signers["cloud"]
    assert set(receipts) == {"idc", "cloud"}
    for name, receipt in receipts.items():
        assert (receipt["site"], receipt["customer_id"]) == (name, gone)
        assert receipt["approved_by"] == ["an.bo", "chen.yu"]
        assert is_genuine(receipt, signers)
        assert not is_genuine(receipt, {name: signers["idc" if name == "cloud" else "cloud"]})
        vault = open_vault(staffed.keepers[name].path)
        with pytest.raises(SubjectShredded):
            vault.decrypt(CUSTOMER_NAME, gone, sealed)
        assert vault.decrypt(CUSTOMER_NAME, stays, kept)
    assert await cells.rows("select customer_id from keys.shredded") == [(gone,)]


async def test_a_process_that_has_opened_the_customer_before_forgets_the_key_too(
    staffed: Site, cells: Any
) -> None:
    """Vaults keep derived keys; one that runs on must not be where a shredded customer's key survives."""
    rows = "select customer_id, name from core.customers order by customer_id"
    (gone, sealed), (stays, kept) = (await cells.rows(rows))[:2]
    running = {name: open_vault(keeper.path) for name, keeper in staffed.keepers.items()}
    for vault in running.values():
        assert vault.decrypt(CUSTOMER_NAME, gone, sealed)
    await perform(staffed, Operation.SHRED, {"table": "core.customers", "subject": gone}, "chen.yu", "an.bo")
    await asyncio.sleep(LOOK_EVERY_S)
    for name, vault in running.items():
        with pytest.raises(SubjectShredded):
            vault.decrypt(CUSTOMER_NAME, gone, sealed)
        assert vault.decrypt(CUSTOMER_NAME, stays, kept), name


async def test_a_copy_of_a_ring_from_before_the_shredding_opens_nothing(
    staffed: Site, cells: Any, tmp_path: Path
) -> None:
    """As a backup of the file has it: the key-encryption key that it names is destroyed."""
    [(gone,), *_] = await cells.rows("select customer_id from core.customers order by customer_id")
    copies = {name: keeper.path.read_bytes() for name, keeper in staffed.keepers.items()}
    await perform(staffed, Operation.SHRED, {"table": "core.customers", "subject": gone}, "chen.yu", "an.bo")
    for name, keeper in staffed.keepers.items():
        assert len(list(keeper.path.parent.glob("kek-*"))) == 1
        thief = shutil.copytree(keeper.path.parent, tmp_path / f"thief-{name}")
        (thief / "ring.json").write_bytes(copies[name])
        with pytest.raises(RingFileError, match="is not there"):
            open_vault(thief / "ring.json")


async def test_a_shredding_is_done_at_every_site_or_at_none(staffed: Site, cells: Any) -> None:
    gone = (await cells.rows("select customer_id from core.customers order by customer_id"))[0][0]
    request = ask(Operation.SHRED, {"table": "core.customers", "subject": gone}, staffed.keepers, NOW)
    before = {name: keeper.head() for name, keeper in staffed.keepers.items()}
    one = {"idc": staffed.keepers["idc"]}
    with pytest.raises(ApprovalRefused, match="request for the rings of cloud, idc: found those of idc"):
        await carry_out(request, sign(request, "chen.yu", "an.bo"), one, SETTINGS, NOW)
    assert {name: keeper.head() for name, keeper in staffed.keepers.items()} == before
    assert await cells.rows("select customer_id from keys.shredded") == []
