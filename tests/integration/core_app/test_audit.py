"""What each change leaves for the audit, who may touch it, and what the notaries make of it."""

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from compliance.access.bearer import Claims, make_bearer
from compliance.access.roles import Party
from compliance.audit.chain import Sealing
from compliance.audit.checkpoint import Mark
from compliance.audit.export import Export, Source, write_export
from compliance.audit.findings import Defect
from compliance.audit.signing import make_signer
from compliance.audit.store import seal_next
from compliance.audit.verify import Report, verify_export
from compliance.protection.sm2 import private_key_of
from core_app.audit.memory import MemoryUnreadable, read_memory
from core_app.audit.notary import Clerk, Notary
from replication.model import Site
from replication.settings import CellSettings
from tests.integration.core_app.conftest import EPOCH, DirectRouter
from tests.integration.core_app.lending import draw, repay

SITES = (Site.IDC, Site.CLOUD)
HOMES = (CellSettings("a", Site.IDC), CellSettings("b", Site.CLOUD))
SIGNERS = {site: make_signer(str(site), private_key_of(site.encode())) for site in SITES}
KEYS = {signer.key_id: signer.public for signer in SIGNERS.values()}


class AuditRouter(DirectRouter):
    """The notary's: as biyi_audit, every cell written at idc."""

    def site(self, cell: str) -> Site | None:
        return Site.IDC


@contextlib.asynccontextmanager
async def connect(cells: Any, cell: str, user: str = "biyi_audit") -> AsyncIterator[Any]:
    dsn = cells.server.dsn(cells.databases[cell], user)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def notaries(cells: Any, tmp_path: Path) -> AsyncIterator[dict[Site, Notary]]:
    async with contextlib.AsyncExitStack() as stack:
        pools = {}
        for cell, database in cells.databases.items():
            pool = AsyncConnectionPool(cells.server.dsn(database, "biyi_audit"), min_size=1, open=False)
            pools[cell] = await stack.enter_async_context(pool)
        yield {
            site: Notary(
                AuditRouter(pools),
                Clerk(site, HOMES, SIGNERS[site], tmp_path / site / "memory.json", read_now),
            )
            for site in SITES
        }


def read_now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")


async def seal_all(notary: Notary) -> int:
    return sum([(await notary.seal(cell)).entries for cell in ("a", "b")])


async def export_and_verify(cells: Any, notaries: dict[Site, Notary], path: Path) -> Report:
    remembered = {str(site): read_memory(notary.clerk.memory).to_plain() for site, notary in notaries.items()}
    source = Source(
        ("a", "b"), {"idc": "a", "cloud": "b"}, lambda cell: connect(cells, cell), remembered, read_now()
    )
    await write_export(path, source, SIGNERS[Site.IDC], KEYS, Export())
    return verify_export(path, KEYS, workers=1)


async def entries(cells: Any) -> list[dict[str, Any]]:
    rows = await cells.rows("select line from audit.entries order by xid, entry_id", "biyi_audit")
    return [json.loads(line) for (line,) in rows]


async def test_each_command_leaves_one_entry_that_says_what_it_did(client: Any, cells: Any) -> None:
    loan = await draw(client)
    status, _, _ = await repay(client, loan["loan_id"], 500)
    assert status == 201
    found = await entries(cells)
    keys = [entry["key"] for entry in found if "key" in entry]
    commands = await cells.rows("select idempotency_key from core.commands")
    assert sorted(keys) == sorted(row[0] for row in commands)
    repayment = next(entry for entry in found if entry.get("kind") == "repayment")
    assert repayment["of"] == loan["loan_id"]
    assert repayment["body"]["amount_fen"] == 500
    assert (repayment["status"], repayment["epoch"], repayment["site"]) == (201, EPOCH, "idc")
    assert repayment["role"] == "biyi_app"
    assert "loan" not in repayment["body"]
    assert any(entry["what"] == "payout_events.insert" for entry in found)


async def test_each_entry_says_for_whom_it_was_done_also_where_many_share_a_transaction(
    client: Any, core: Any, cells: Any
) -> None:
    """Channel, customers and staff; repayments of different callers that arrive together."""
    loans = [await draw(client) for _ in range(6)]
    sign = core.vault.request_digest

    async def pay(number: int, loan: Any) -> None:
        token = make_bearer(sign, Claims(Party.CUSTOMER, loan["customer_id"], 4_000_000_000))
        headers = {"Idempotency-Key": f"own-repayment-{number}", "Authorization": f"Bearer {token}"}
        body = {"loan_id": loan["loan_id"], "amount_fen": 100}
        assert (await client.send("POST", "/v1/repayments", json=body, headers=headers))[0] == 201

    await asyncio.gather(*(pay(number, loan) for number, loan in enumerate(loans)))
    for loan in loans[:1]:
        body = {"loan_id": loan["loan_id"], "reason": "by mistake"}
        assert (await client.post("/v1/write-offs", body))[0] in (201, 409, 422)
    found = await entries(cells)
    by_key = {entry["key"]: entry.get("actor") for entry in found if "key" in entry}
    for number, loan in enumerate(loans):
        assert by_key[f"own-repayment-{number}"] == f"customer:{loan['customer_id']}"
    assert {by_key[entry["key"]] for entry in found if entry.get("kind") == "draw"} == {"channel:app"}
    told = {entry["what"]: entry.get("actor") for entry in found if entry["what"].startswith("staff.")}
    assert set(told.values()) <= {"li.wei", "wang.fang"}
    assert told
    blank = [entry for entry in found if entry.get("kind") and not entry.get("actor")]
    assert blank == []


async def test_a_refused_command_leaves_no_entry(client: Any, cells: Any) -> None:
    loan = await draw(client)
    before = len(await entries(cells))
    status, _, _ = await repay(client, loan["loan_id"], 10**12)
    assert status == 422
    assert len(await entries(cells)) == before


TOUCH = (
    "insert into audit.entries (line) values ('{}')",
    "select line from audit.entries",
    "update audit.entries set line = '{}'",
    "delete from audit.blocks",
    "truncate audit.checkpoints",
    "insert into audit.checkpoints select 'idc', 9, '', '', ''",
    "select audit.note_row()",
)


@pytest.mark.parametrize("statement", TOUCH)
async def test_the_core_cannot_touch_the_audit(cells: Any, statement: str) -> None:
    async with connect(cells, "a", "biyi_app") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)


async def write_history(cells: Any, notaries: dict[Site, Notary], rounds: int = 2) -> None:
    """Write, seal and sign in both cells by turns."""
    for _ in range(rounds):
        for cell in ("a", "b"):
            async with connect(cells, cell, "biyi_owner") as owner:
                await owner.execute(
                    'insert into audit.entries (line) select format(\'{"fen": 700, "n": %s}\', n) '
                    "from generate_series(1, 3) n"
                )
        await seal_all(notaries[Site.IDC])
        for notary in notaries.values():
            assert await notary.sign() is not None


async def test_nobody_changes_or_deletes_what_is_audited(cells: Any, notaries: dict[Site, Notary]) -> None:
    await write_history(cells, notaries, 1)
    async with connect(cells, "a", "biyi_owner") as owner, connect(cells, "a") as notary:
        for table, column in (
            ("entries", "line"),
            ("blocks", "line"),
            ("checkpoints", "line"),
            ("chain", "chain_id"),
        ):
            for change in (f"update {{}} set {column} = {column}", "delete from {}", "truncate {}"):
                statement = change.format(f"audit.{table}")
                with pytest.raises(psycopg.Error) as refused:
                    await owner.execute(statement)
                assert refused.value.sqlstate == "BY103", statement
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await notary.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await notary.execute("insert into audit.entries (line) values ('{}')")


async def test_what_is_written_sealed_and_signed_verifies_without_the_database(
    client: Any, cells: Any, notaries: dict[Site, Notary], tmp_path: Path
) -> None:
    loan = await draw(client)
    await repay(client, loan["loan_id"], 700)
    await write_history(cells, notaries)
    report = await export_and_verify(cells, notaries, tmp_path / "x.audit")
    assert report.findings == []
    assert report.entries == len(await entries(cells)) > 0
    assert report.checkpoints == {"idc": 2, "cloud": 2}
    second = notaries[Site.IDC].newest
    assert second is not None
    assert second.statement.anchor is not None
    assert second.statement.anchor.number == 1


async def test_entries_are_in_the_order_of_numbers_not_of_their_digits(
    cells: Any, notaries: dict[Site, Notary], tmp_path: Path
) -> None:
    async with connect(cells, "a", "biyi_owner") as owner:
        for xid in (8, 9, 10, 11):
            await owner.execute(
                "insert into audit.entries (xid, line) values (%s::text::xid8, '{}')", [str(xid)]
            )
    assert await seal_all(notaries[Site.IDC]) == 4
    report = await export_and_verify(cells, notaries, tmp_path / "x.audit")
    assert (report.findings, report.entries) == ([], 4)


async def test_nothing_is_left_out_while_many_write_and_two_notaries_seal(
    cells: Any, notaries: dict[Site, Notary]
) -> None:
    """Transactions overlap, some are rolled back, some slow: entries become visible out of order."""
    done = asyncio.Event()

    async def write(nth: int) -> None:
        async with connect(cells, "a", "biyi_owner") as connection:
            for turn in range(12):
                with contextlib.suppress(ZeroDivisionError):
                    async with connection.transaction():
                        await connection.execute(
                            "insert into audit.entries (line) select format('{\"w\": %s}', n) "
                            "from generate_series(1, 3) n",
                        )
                        await asyncio.sleep(0.001 * ((nth * 7 + turn * 3) % 11))
                        if (nth + turn) % 5 == 0:
                            raise ZeroDivisionError

    async def seal(notary: Notary) -> None:
        while not done.is_set():
            await notary.seal("a")
            await asyncio.sleep(0.002)

    sealing = [asyncio.create_task(seal(notary)) for notary in notaries.values()]
    await asyncio.gather(*(write(nth) for nth in range(8)))
    done.set()
    await asyncio.gather(*sealing)
    await notaries[Site.IDC].seal("a")
    blocks = await cells.rows("select line from audit.blocks order by number", "biyi_audit")
    plain = [json.loads(line) for (line,) in blocks]
    assert len(plain) > 3
    assert [block["below"] for block in plain] == [0, *(block["upto"] for block in plain[:-1])]
    written = (await cells.rows("select count(*) from audit.entries", "biyi_audit"))[0][0]
    assert sum(block["count"] for block in plain) == written > 200


async def test_a_running_transaction_is_not_passed_over(cells: Any, notaries: dict[Site, Notary]) -> None:
    async with connect(cells, "a", "biyi_owner") as slow, connect(cells, "a", "biyi_owner") as quick:
        insert = "insert into audit.entries (line) values ('{}')"
        async with slow.transaction():
            await slow.execute(insert)
            await quick.execute(insert)
            assert (await notaries[Site.IDC].seal("a")).entries == 0
        assert (await notaries[Site.IDC].seal("a")).entries == 2


async def test_a_block_never_splits_a_transaction(cells: Any) -> None:
    async with connect(cells, "a", "biyi_owner") as owner:
        for size in (3, 4, 1):
            await owner.execute(
                f"insert into audit.entries (line) select '{{}}' from generate_series(1, {size})"
            )
    counts = []
    async with connect(cells, "a") as notary:
        more = True
        while more:
            async with notary.transaction():
                done = await seal_next(notary, Sealing("a", "", EPOCH, "idc", read_now()), page_entries=2)
            counts.append(done.entries)
            more = done.more
    assert counts == [3, 4, 1]


TAMPERINGS = {
    "edited": ("update audit.entries set line = replace(line, '700', '7')", Defect.EDITED),
    "deleted": ("delete from audit.entries where line like '%2}'", Defect.DELETED),
    "inserted": ("insert into audit.entries (xid, line) values ('1', '{}')", Defect.INSERTED),
    "block gone": ("delete from audit.blocks where number = 1", Defect.DELETED),
    "end gone": ("delete from audit.blocks where number = 2", Defect.TRUNCATED),
    "checkpoint gone": ("delete from audit.checkpoints where number = 2", Defect.TRUNCATED),
}


@pytest.mark.parametrize("how", TAMPERINGS)
async def test_what_a_superuser_changes_is_found(
    cells: Any, notaries: dict[Site, Notary], tmp_path: Path, how: str
) -> None:
    await write_history(cells, notaries)
    statement, defect = TAMPERINGS[how]
    async with connect(cells, "b", "biyi_admin") as thief:
        await thief.execute("set session_replication_role = replica")
        await thief.execute(statement)
    first = (await export_and_verify(cells, notaries, tmp_path / "x.audit")).first
    assert first is not None
    assert first.defect is defect


async def test_a_notary_signs_that_its_history_was_taken_away(
    cells: Any, notaries: dict[Site, Notary], tmp_path: Path
) -> None:
    """A forced promotion to a copy without the last commits, or a database restored to an earlier time."""
    await write_history(cells, notaries, 1)
    before = read_memory(notaries[Site.IDC].clerk.memory)
    for cell in ("a", "b"):
        async with connect(cells, cell, "biyi_admin") as admin:
            await admin.execute("set session_replication_role = replica")
            await admin.execute("truncate audit.entries, audit.blocks")
    signed = await notaries[Site.IDC].sign()
    assert signed is not None
    lost = {cell: mark for cell, mark in before.cells.items() if mark.number}
    assert signed.statement.lost == lost != {}
    report = await export_and_verify(cells, notaries, tmp_path / "x.audit")
    assert Defect.LOST in {finding.defect for finding in report.findings}


async def test_a_checkpoint_that_another_kept_first_is_not_overwritten(
    cells: Any, notaries: dict[Site, Notary], tmp_path: Path
) -> None:
    twin = Notary(
        notaries[Site.IDC].router,
        Clerk(Site.IDC, HOMES, SIGNERS[Site.IDC], tmp_path / "twin.json", read_now),
    )
    found = await asyncio.gather(notaries[Site.IDC].sign(), twin.sign())
    numbers = [one.mark.number for one in found if one]
    assert numbers in ([1], [1, 2], [2, 1])
    kept = await cells.rows("select number, encode(hash, 'hex') from audit.checkpoints", "biyi_audit")
    assert sorted(kept) == sorted((one.mark.number, one.mark.hash) for one in found if one)


async def test_a_damaged_memory_is_not_taken_for_an_empty_one(notaries: dict[Site, Notary]) -> None:
    notary = notaries[Site.IDC]
    assert read_memory(notary.clerk.memory).cells == {}
    await notary.sign()
    assert isinstance(read_memory(notary.clerk.memory).checkpoints["idc"], Mark)
    notary.clerk.memory.write_text('{"cells": []}')
    with pytest.raises(MemoryUnreadable):
        await notary.sign()
