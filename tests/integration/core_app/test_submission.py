"""Batches: prepared once, sent until they end, whatever the regulator or a site does in between."""

import asyncio
import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import psycopg
import pytest

from compliance.access.desk import Desk
from compliance.reporting.batch import Finding, Kind, Made, State
from compliance.reporting.errors import FilingRefused, RegulatorSilent
from compliance.reporting.regulator import FakeRegulator, Fault, Remark
from compliance.reporting.submission import prepare, read_remarks, read_standings, submit
from core_app.staff.portal import make_portal

DAY = dt.date(2026, 1, 31)
GOOD = Made(Kind.EAST, DAY, None, {"tables": {}}, {"a": {"lsn": "0/1"}}, ())
OTHER = dataclasses.replace(GOOD, content={"tables": {"503": {"rows": 1}}})


@pytest.fixture
def writer(core: Any) -> Any:
    desk: Desk = make_portal(core, core.router.staff).desk
    return desk.directory


def faults(*wanted: Fault) -> Any:
    waiting = list(wanted)
    return lambda: waiting.pop(0) if waiting else None


async def states(cells: Any) -> list[str]:
    return [
        state for (state,) in await cells.rows("select state from filing.events order by batch_id, number")
    ]


async def test_the_same_content_is_one_batch_at_either_site(writer: Any, cells: Any) -> None:
    first = await prepare(writer, GOOD, "idc")
    assert await prepare(writer, dataclasses.replace(GOOD, seen={"a": {"lsn": "0/9"}}), "cloud") == first
    assert first == "east-20260131-001"
    assert await states(cells) == ["prepared"]


async def test_a_finding_keeps_everything_in_the_house(writer: Any, cells: Any) -> None:
    bad = dataclasses.replace(GOOD, findings=(Finding("503", "L1", "roll-forward", "2.00", "1.00"),))
    with pytest.raises(
        FilingRefused, match=r"table 503, key L1, rule roll-forward: found 2\.00, needs 1\.00"
    ):
        await prepare(writer, bad, "idc")
    assert await states(cells) == []


async def test_a_batch_is_accepted_and_stays_so(writer: Any, cells: Any, tmp_path: Path) -> None:
    fake = FakeRegulator(tmp_path)
    batch = await prepare(writer, GOOD, "idc")
    standing = await submit(writer, fake, batch, "idc")
    assert standing.state is State.ACCEPTED
    assert (await submit(writer, fake, batch, "cloud")).receipt == standing.receipt
    assert await states(cells) == ["prepared", "sending", "accepted"]
    assert fake.filed() == {batch: GOOD.sm3.hex()}


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.TIME_OUT])
async def test_a_lost_answer_is_asked_for_by_the_other_site_and_filed_once(
    writer: Any, cells: Any, tmp_path: Path, fault: Fault
) -> None:
    batch = await prepare(writer, GOOD, "idc")
    with pytest.raises(RegulatorSilent):
        await submit(writer, FakeRegulator(tmp_path, faults(fault)), batch, "idc")
    assert (await read_standings(writer, batch))[0].state is State.SENDING
    survivor = FakeRegulator(tmp_path)
    assert (await submit(writer, survivor, batch, "cloud")).state is State.ACCEPTED
    assert survivor.filed() == {batch: GOOD.sm3.hex()}
    assert (await states(cells))[-1] == "accepted"


async def test_who_finds_a_batch_being_sent_asks_before_telling_it_again(writer: Any, tmp_path: Path) -> None:
    class ToldOnce(FakeRegulator):
        async def submit(self, batch_id: str, manifest: Any) -> Any:
            assert batch_id not in self.filed(), "it was told what it already had"
            return await super().submit(batch_id, manifest)

    batch = await prepare(writer, GOOD, "idc")
    with pytest.raises(RegulatorSilent):
        await submit(writer, ToldOnce(tmp_path, faults(Fault.LOSE_ANSWER)), batch, "idc")
    assert (await submit(writer, ToldOnce(tmp_path), batch, "cloud")).state is State.ACCEPTED


async def test_what_the_regulator_holds_is_not_taken_for_ours_by_its_id_alone(
    writer: Any, tmp_path: Path
) -> None:
    batch = await prepare(writer, GOOD, "idc")
    with pytest.raises(RegulatorSilent):
        await submit(writer, FakeRegulator(tmp_path, faults(Fault.TIME_OUT)), batch, "idc")
    fake = FakeRegulator(tmp_path)
    await fake.submit(batch, {"sm3": "bb"})
    with pytest.raises(FilingRefused, match="holds another content"):
        await submit(writer, fake, batch, "cloud")
    assert (await read_standings(writer, batch))[0].state is State.SENDING


async def test_two_sites_that_send_at_once_file_once(writer: Any, cells: Any, tmp_path: Path) -> None:
    batch = await prepare(writer, GOOD, "idc")
    fakes = {site: FakeRegulator(tmp_path) for site in ("idc", "cloud")}
    ends = await asyncio.gather(*(submit(writer, fake, batch, site) for site, fake in fakes.items()))
    assert {one.state for one in ends} == {State.ACCEPTED}
    assert fakes["idc"].filed() == {batch: GOOD.sm3.hex()}
    assert [state for state in await states(cells) if state == "accepted"] == ["accepted"]


async def test_an_answer_is_kept_although_the_other_site_writes_while_it_comes(
    writer: Any, cells: Any, tmp_path: Path
) -> None:
    class Meanwhile(FakeRegulator):
        async def submit(self, batch_id: str, manifest: Any) -> Any:
            await asyncio.to_thread(
                cells.run_sql, cells.databases["a"],
                "insert into filing.events (batch_id, number, state, note, by_site) "
                f"values ('{batch_id}', 3, 'sending', '', 'cloud')",
            )  # fmt: skip
            return await super().submit(batch_id, manifest)

    batch = await prepare(writer, GOOD, "idc")
    assert (await submit(writer, Meanwhile(tmp_path), batch, "idc")).state is State.ACCEPTED
    assert await states(cells) == ["prepared", "sending", "sending", "accepted"]


async def test_feedback_that_comes_later_is_fetched(writer: Any, cells: Any, tmp_path: Path) -> None:
    batch = await prepare(writer, GOOD, "idc")
    late = FakeRegulator(tmp_path, faults(Fault.LATE))
    assert (await submit(writer, late, batch, "idc")).state is State.RECEIVED
    assert (await submit(writer, late, batch, "idc")).state is State.ACCEPTED


async def test_what_was_rejected_is_corrected_and_filed_again(writer: Any, tmp_path: Path) -> None:
    batch = await prepare(writer, GOOD, "idc")
    fake = FakeRegulator(tmp_path, faults(Fault.REJECT))
    rejected = await submit(writer, fake, batch, "idc")
    assert (rejected.state, bool(rejected.note)) == (State.REJECTED, True)
    with pytest.raises(FilingRefused, match="with a reason"):
        await prepare(writer, OTHER, "idc")
    second = await prepare(writer, OTHER, "idc", "row counts were wrong")
    assert second == "east-20260131-002"
    assert (await submit(writer, fake, second, "idc")).state is State.ACCEPTED
    assert (await read_standings(writer, second))[0].corrects == batch


async def test_a_feedback_file_is_kept_with_the_end_of_the_batch_once(
    writer: Any, cells: Any, tmp_path: Path
) -> None:
    batch = await prepare(writer, GOOD, "idc")
    remarks = [
        Remark("503", "L1", "class5", "not of the code list"),
        Remark("GL", "", "", "does not balance"),
    ]
    fake = FakeRegulator(tmp_path, faults(Fault.LOSE_ANSWER, Fault.TIME_OUT), remarks)
    rejecting = FakeRegulator(tmp_path, faults(Fault.REJECT), remarks)
    await rejecting.submit(batch, GOOD.manifest())  # it was told, and the answer never came
    for _ in range(2):
        with pytest.raises(RegulatorSilent):
            await submit(writer, fake, batch, "idc")
        assert await read_remarks(writer, batch) == []
    for site in ("idc", "cloud"):
        assert (await submit(writer, fake, batch, site)).state is State.REJECTED
    assert await read_remarks(writer, batch) == remarks
    with pytest.raises(psycopg.Error, match="append-only"):
        await cells.rows("delete from filing.remarks")
    second = await prepare(writer, OTHER, "idc", "the class was wrong")
    assert (await submit(writer, fake, second, "cloud")).state is State.ACCEPTED
    assert await read_remarks(writer, second) == []


async def test_an_odd_feedback_file_does_not_keep_a_batch_from_its_end(writer: Any, tmp_path: Path) -> None:
    batch = await prepare(writer, GOOD, "idc")
    odd = [Remark("", "", "", ""), Remark("5" * 99, "k" * 999, "f" * 99, "t\0" + "t" * 999)]
    fake = FakeRegulator(tmp_path, faults(Fault.REJECT), odd)
    assert (await submit(writer, fake, batch, "idc")).state is State.REJECTED
    kept = await read_remarks(writer, batch)
    assert kept == [Remark("-", "", "", "-"), Remark("5" * 20, "k" * 200, "f" * 60, "t" * 500)]


async def test_a_correction_needs_an_end_and_something_to_correct(writer: Any) -> None:
    with pytest.raises(FilingRefused, match="nothing to correct"):
        await prepare(writer, GOOD, "idc", "no reason at all")
    await prepare(writer, GOOD, "idc")
    with pytest.raises(FilingRefused, match="end it first"):
        await prepare(writer, OTHER, "idc", "changed my mind")


async def test_the_database_keeps_the_order_of_states_and_both_rows(writer: Any, cells: Any) -> None:
    batch = await prepare(writer, GOOD, "idc")
    jump = f"insert into filing.events values ('{batch}', 2, 'accepted', 'R-1234', '', 'idc')"
    with pytest.raises(psycopg.Error, match="cannot become accepted"):
        await cells.rows(jump)
    for statement in ("delete from filing.batches", "update filing.events set state = 'accepted'"):
        with pytest.raises(psycopg.Error, match="append-only"):
            await cells.rows(statement)
    whats = await cells.rows("select line::jsonb ->> 'what' from audit.entries order by xid, entry_id")
    assert [what for (what,) in whats if what in ("batches.insert", "events.insert")] == [
        "batches.insert", "events.insert",
    ]  # fmt: skip
