"""Two people, two keys, one request, once; and receipts that only their site can have signed."""

import datetime as dt
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compliance.protection import ring as rings
from compliance.protection.approvals import (
    Approval,
    Operation,
    Request,
    check_approvals,
    read_request,
)
from compliance.protection.errors import ApprovalRefused, RingFileError, SubjectShredded
from compliance.protection.fields import CUSTOMER_NAME
from compliance.protection.key_file import ensure_key_file
from compliance.protection.receipt import is_genuine
from compliance.protection.ring_file import make_ring, read_ring
from compliance.protection.ring_keeper import LocalKeeper
from compliance.protection.sm2 import make_signing_key, private_key_of
from compliance.protection.vault import open_vault

NOW = dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC)
HOLDERS = {name: make_signing_key(private_key_of(name.encode() * 9)) for name in ("zhang", "li", "wang")}
PUBLIC = {name: key.public for name, key in HOLDERS.items()}
CUSTOMER = "C" + "0" * 24
TABLE = "core.customers"
REQUEST = Request(
    Operation.SHRED, {"table": TABLE, "subject": CUSTOMER}, {"idc": 1}, NOW, NOW + dt.timedelta(hours=1)
)


def approve(holder: str, request: Request = REQUEST, key: str = "") -> Approval:
    return Approval(holder, HOLDERS[key or holder].sign(request.text(), secrets.token_bytes(32)))


def lose_power(patched: pytest.MonkeyPatch, cut: str) -> None:
    """Have the machine fail at the first step of a kind: a new ring, an old key, the nonce of a signature."""
    fails = {"before the ring": "replace", "before the old key dies": "unlink", "before the receipt": "draw"}
    rename, unlink, draw = Path.replace, Path.unlink, secrets.token_bytes

    def check(step: str, *, met: bool) -> None:
        if met and fails[cut] == step:
            raise OSError("the power is gone")

    def replacing(path: Path, target: Path) -> Path:
        check("replace", met=target.name == "ring.json")
        return rename(path, target)

    def unlinking(path: Path) -> None:
        check("unlink", met=path.name.startswith("kek-"))
        unlink(path)

    def drawing(length: int) -> bytes:
        check("draw", met=length == 32)
        return draw(length)

    patched.setattr(Path, "replace", replacing)
    patched.setattr(Path, "unlink", unlinking)
    patched.setattr(secrets, "token_bytes", drawing)


def test_two_holders_are_enough_and_a_request_survives_its_file() -> None:
    request = read_request(REQUEST.plain())
    assert request == REQUEST
    assert check_approvals(request, [approve("zhang"), approve("li")], PUBLIC, NOW) == ("li", "zhang")


OTHER = replace(REQUEST, about={"table": TABLE, "subject": "C" + "1" * 24})
TWO_NAMES = PUBLIC | {"zhang2": PUBLIC["zhang"]}
REFUSED: list[tuple[Callable[[], list[Approval]], dict[str, bytes], dt.datetime, str]] = [
    (lambda: [], PUBLIC, NOW, "approved by 0 of 2"),
    (lambda: [approve("zhang")], PUBLIC, NOW, "approved by 1 of 2"),
    (lambda: [approve("zhang"), approve("zhang")], PUBLIC, NOW, "approved by 1 of 2"),
    (lambda: [approve("zhang"), approve("zhang2", key="zhang")], TWO_NAMES, NOW, "approved by 1 of 2"),
    (lambda: [approve("zhang"), approve("li", key="zhang")], PUBLIC, NOW, "not over this request"),
    (lambda: [approve("zhang"), approve("li", OTHER)], PUBLIC, NOW, "not over this request"),
    (lambda: [approve("zhang"), approve("wang")], {"zhang": PUBLIC["zhang"]}, NOW, "no holder of this ring"),
    (lambda: [approve("zhang"), approve("li")], PUBLIC, NOW + dt.timedelta(hours=2), "not valid now"),
    (lambda: [approve("zhang"), approve("li")], PUBLIC, NOW - dt.timedelta(hours=2), "not valid now"),
]


@pytest.mark.parametrize(("approvals", "holders", "now", "words"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_what_two_different_keys_did_not_approve_in_time(
    approvals: Callable[[], list[Approval]], holders: dict[str, bytes], now: dt.datetime, words: str
) -> None:
    with pytest.raises(ApprovalRefused, match=words):
        check_approvals(REQUEST, approvals(), holders, now)


def test_a_request_may_not_live_for_ever() -> None:
    long = replace(REQUEST, expires_at=NOW + dt.timedelta(days=30))
    with pytest.raises(ApprovalRefused, match="not valid now"):
        check_approvals(long, [approve("zhang", long), approve("li", long)], PUBLIC, NOW)


def make_keeper(folder: Path, holders: dict[str, bytes]) -> LocalKeeper:
    ensure_key_file(folder / "root.key")
    ring = rings.set_holders(rings.plant_rings(["idc"], os.urandom)["idc"], holders)
    make_ring(folder / "ring.json", ring, {"kind": "file", "file": "root.key"})
    return LocalKeeper(folder / "ring.json")


def test_a_shredding_is_done_once_and_leaves_a_receipt_of_its_site(tmp_path: Path) -> None:
    keeper = make_keeper(tmp_path, PUBLIC)
    vault = open_vault(keeper.path)
    sealed = vault.encrypt(CUSTOMER_NAME, CUSTOMER, "张三")
    with pytest.raises(ApprovalRefused, match="approved by 1 of 2"):
        keeper.carry_out(REQUEST, [approve("li")], NOW)
    assert vault.decrypt(CUSTOMER_NAME, CUSTOMER, sealed) == "张三"
    dead = keeper.head().kek
    receipt = keeper.carry_out(REQUEST, [approve("li"), approve("wang")], NOW)
    assert receipt is not None
    assert receipt["approved_by"] == ["li", "wang"]
    assert receipt["destroyed_kek"] == dead
    assert not (tmp_path / f"kek-{dead}.json").exists()
    with pytest.raises(SubjectShredded):
        open_vault(keeper.path).decrypt(CUSTOMER_NAME, CUSTOMER, sealed)
    signers = {"idc": bytes.fromhex(keeper.head().signer)}
    assert is_genuine(receipt, signers)
    for field, value in (
        ("customer_id", "C" + "1" * 24),
        ("site", "cloud"),
        ("approved_by", ["li", "zhang"]),
    ):
        assert not is_genuine(receipt | {field: value}, signers | {"cloud": PUBLIC["li"]})
    assert not is_genuine(receipt, {"idc": PUBLIC["zhang"]})
    later = keeper.carry_out(REQUEST, [approve("li"), approve("wang")], NOW + dt.timedelta(minutes=9))
    assert later is not None
    assert later | {"signature": ""} == receipt | {"signature": ""}, "it says the same again, nothing more"
    assert keeper.head().generation == 2
    other = replace(REQUEST, about={"table": TABLE, "subject": "C" + "1" * 24})
    with pytest.raises(ApprovalRefused, match="generation 2, the request is for 1"):
        keeper.carry_out(other, [approve("li", other), approve("wang", other)], NOW)


@pytest.mark.parametrize("cut", ["before the ring", "before the old key dies", "before the receipt"])
def test_a_shredding_that_was_cut_off_goes_on_to_its_receipt_and_leaves_no_old_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    keeper = make_keeper(tmp_path, PUBLIC)
    vault = open_vault(keeper.path)
    sealed = vault.encrypt(CUSTOMER_NAME, CUSTOMER, "张三")
    dead, kept = keeper.head().kek, [approve("li"), approve("wang")]
    copy = (tmp_path / "ring.json").read_bytes()  # in a backup of the directory, say
    with monkeypatch.context() as patched:
        lose_power(patched, cut)
        with pytest.raises(OSError, match="power"):
            keeper.carry_out(REQUEST, kept, NOW)
    receipt = keeper.carry_out(REQUEST, kept, NOW)
    assert receipt is not None
    assert (receipt["destroyed_kek"], receipt["generation"]) == (dead, 2)
    assert is_genuine(receipt, {"idc": bytes.fromhex(keeper.head().signer)})
    assert [path.name for path in tmp_path.glob("kek-*")] == [f"kek-{keeper.head().kek}.json"]
    with pytest.raises(SubjectShredded):
        open_vault(keeper.path).decrypt(CUSTOMER_NAME, CUSTOMER, sealed)
    (tmp_path / "ring.json").write_bytes(copy)
    with pytest.raises(RingFileError, match="is not there"):
        open_vault(keeper.path)


def test_another_change_of_the_ring_is_not_taken_for_the_shredding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, kept = make_keeper(tmp_path, PUBLIC), [approve("li"), approve("wang")]
    with monkeypatch.context() as patched:
        lose_power(patched, "before the ring")
        with pytest.raises(OSError, match="power"):
            keeper.carry_out(REQUEST, kept, NOW)
    keeper.grow("core.customers")
    with pytest.raises(ApprovalRefused, match="generation 2, the request is for 1"):
        keeper.carry_out(REQUEST, kept, NOW)


def test_only_the_first_holders_come_without_approval(tmp_path: Path) -> None:
    keeper = make_keeper(tmp_path, {})
    ask = replace(REQUEST, operation=Operation.HOLDERS, about={n: k.hex() for n, k in PUBLIC.items()})
    for about, words in (
        ({"eve": PUBLIC["li"].hex()}, "two or more"),
        ({"a": "00", "b": "x"}, "hexadecimal"),
    ):
        with pytest.raises(ApprovalRefused, match=words):
            keeper.carry_out(replace(ask, about=about), [], NOW)
    keeper.carry_out(ask, [], NOW)
    assert read_ring(keeper.path).holders == PUBLIC
    eve = replace(ask, about={"eve": PUBLIC["li"].hex(), "li": PUBLIC["wang"].hex()}, generations={"idc": 2})
    with pytest.raises(ApprovalRefused, match="approved by 0 of 2"):
        keeper.carry_out(eve, [], NOW)


@pytest.mark.parametrize("change", [{"format": "x"}, {"operation": "x"}, {"about": 1}, {"asked_at": "x"}])
def test_refuses_a_document_that_is_no_request(change: dict[str, Any]) -> None:
    with pytest.raises(ApprovalRefused, match="request:"):
        read_request(REQUEST.plain() | change)
