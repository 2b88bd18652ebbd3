"""What a compliance officer is told of a batch, and the faults that can be practised on a stand."""

import asyncio
from pathlib import Path

import pytest

from compliance.reporting.batch import Kind, State
from compliance.reporting.catalogue import read_tables
from compliance.reporting.errors import RegulatorSilent
from compliance.reporting.regulator import Fault
from runbooks.report_batches import KINDS, plan_step, stand_regulator

BATCH, MANIFEST = "east-20261130-001", {"sm3": "aa"}


@pytest.mark.parametrize("state", State)
def test_what_comes_next_is_a_command_until_a_batch_is_accepted(state: State) -> None:
    step = plan_step(BATCH, state)
    assert (step == "") == (state is State.ACCEPTED)
    assert ("report submit" in step) == (state in (State.PREPARED, State.SENDING, State.RECEIVED))
    assert ("report correct" in step and "report feedback" in step) == (state is State.REJECTED)


def test_every_kind_and_table_has_a_chinese_name() -> None:
    tables = read_tables()
    named = [*KINDS.values(), *tables.name_tables().values()]
    assert KINDS.keys() == set(Kind)
    assert tables.name_tables().keys() == {*tables.east, *tables.records, *tables.returns}
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in name) for name in named)


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_that_is_practised_happens_once_and_the_batch_is_filed_once(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIYI_HOME", str(tmp_path))
    practising = stand_regulator(fault)
    silent = fault in (Fault.TIME_OUT, Fault.LOSE_ANSWER)
    if silent:
        with pytest.raises(RegulatorSilent):
            asyncio.run(practising.submit(BATCH, MANIFEST))
    else:
        first = asyncio.run(practising.submit(BATCH, MANIFEST))
        expected = {Fault.REJECT: "rejected", Fault.LATE: "received", Fault.ANSWER_TWICE: "accepted"}
        assert first.state == expected[fault]
        assert bool(first.remarks) == (fault is Fault.REJECT)
    again = asyncio.run(practising.submit(BATCH, MANIFEST))
    assert again.state == (
        "received" if fault is Fault.LATE else "rejected" if fault is Fault.REJECT else "accepted"
    )
    assert asyncio.run(stand_regulator().find(BATCH)) is not None
    assert len(list(tmp_path.rglob(f"{BATCH}.json"))) == 1
