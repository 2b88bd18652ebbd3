"""The load against a small lending server: open loop, whole history, unknowns resolved."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import pytest
from aiohttp import web

from runbooks.drills.arrivals import Wish, compute_check_digit, make_person, plan_arrivals
from runbooks.drills.customer import Customers, Patience
from runbooks.drills.history import HistoryWriter, read_history
from runbooks.drills.load import Load, LoadError, LoadSettings
from runbooks.drills.records import History, Kind, Op, Outcome

QUICK = Patience(op_s=1.0, attempt_s=0.4, connect_s=0.2, pause_s=0.01, pause_most_s=0.05, shun_s=0.2)


class Bank:
    """A tiny lending server that remembers answers by key; it can stall, or cut the line after booking."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.mute_keys: set[str] = set()
        self.answers: dict[str, dict[str, object]] = {}
        self.seen: list[str] = []
        self.balance_fen: dict[str, int] = {}
        self._numbers = itertools.count(1)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        await self.open.wait()
        key = request.headers.get("Idempotency-Key", "")
        replayed = key in self.answers
        if key:
            self.seen.append(key)
        if request.method == "GET":
            loan = request.path.rsplit("/", 1)[1]
            answer: dict[str, object] = {"loan_id": loan, "balance_fen": self.balance_fen[loan]}
        elif replayed:
            answer = self.answers[key]
        else:
            answer = self.answers[key] = self._book(request.path, await request.json())
        if key in self.mute_keys:
            self.mute_keys.discard(key)
            assert request.transport is not None
            request.transport.abort()
        headers = {"Biyi-Cell": "a", "Biyi-Epoch": "1"} | ({"Biyi-Replayed": "true"} if replayed else {})
        return web.json_response(answer, status=201, headers=headers)

    def _book(self, path: str, body: dict[str, object]) -> dict[str, object]:
        number = next(self._numbers)
        if path == "/v1/draws":
            self.balance_fen[f"L{number}"] = 1_000_000
            return {"loan_id": f"L{number}", "balance_fen": 1_000_000}
        if path == "/v1/repayments":
            loan, amount = str(body["loan_id"]), int(str(body["amount_fen"]))
            self.balance_fen[loan] -= amount
            return {
                "repayment_id": f"R{number}",
                "principal_fen": amount,
                "balance_fen": self.balance_fen[loan],
            }
        names = {"/v1/customers": "customer_id", "/v1/applications": "application_id"}
        decision = {"decision": "approved"} if path == "/v1/applications" else {}
        return {names.get(path, "contract_id"): f"X{number}", **decision}


@asynccontextmanager
async def banking(
    bank: Bank, path: Path, rate: float = 200, patience: Patience = QUICK
) -> AsyncIterator[Load]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", bank.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    writer = HistoryWriter(path)
    settings = LoadSettings(rate, 1, "drill-t", loans_per_cell=3, resolve_s=2.0)
    async with Customers({"idc": url, "cloud": url}, patience) as customers:
        load = Load(customers, writer, settings)
        try:
            yield load
        finally:
            await load.close()
            writer.close()
            await runner.cleanup()


async def run_until(load: Load, count: int) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    while load.stats.requests < count:
        await asyncio.sleep(0.01)
    stop.set()
    await running


def repayments(history: History) -> list[Op]:
    return [op for op in history.ops if op.kind is Kind.REPAYMENT]


async def test_lends_to_new_people_repays_and_reads_over_both_entrances(tmp_path: Path) -> None:
    bank = Bank()
    async with banking(bank, tmp_path / "h.jsonl") as load:
        await load.prepare(["a"])
        await run_until(load, 150)
    history = read_history(tmp_path / "h.jsonl")
    assert {op.kind for op in history.ops} == set(Kind)
    assert {op.entrance for op in history.ops} == {"idc", "cloud"}
    assert {op.outcome for op in history.ops} == {Outcome.OK}


async def test_an_entrance_that_joins_is_used_and_one_that_leaves_no_more(tmp_path: Path) -> None:
    bank = Bank()
    async with banking(bank, tmp_path / "h.jsonl", patience=Patience()) as load:
        await load.prepare(["a"])
        load.open_entrance("more", load.entrances["idc"])
        await run_until(load, 120)
        before = load.stats.requests
        load.close_entrance("more")
        load.close_entrance("cloud")
        await run_until(load, before + 60)
    ops = sorted(read_history(tmp_path / "h.jsonl").ops, key=lambda op: op.op_id)
    assert {op.outcome for op in ops} == {Outcome.OK}
    assert {op.entrance for op in ops[:before]} == {"idc", "cloud", "more"}
    assert {op.entrance for op in ops[before + 1 :]} == {"idc"}


async def test_every_operation_has_a_key_of_its_own(tmp_path: Path) -> None:
    bank = Bank()
    async with banking(bank, tmp_path / "h.jsonl") as load:
        await load.prepare(["a"])
        await run_until(load, 100)
    assert len(bank.seen) == len(set(bank.seen))


async def test_customers_keep_coming_while_the_bank_stalls_and_all_feel_the_stall(tmp_path: Path) -> None:
    bank = Bank()
    patient = Patience(op_s=5.0, attempt_s=5.0)
    async with banking(bank, tmp_path / "h.jsonl", rate=100, patience=patient) as load:
        await load.prepare(["a"])
        stop = asyncio.Event()
        running = asyncio.create_task(load.run(stop))
        bank.open.clear()
        before = load.stats.requests
        while load.stats.in_flight < 40:  # a closed loop would stand still here
            await asyncio.sleep(0.01)
        assert load.stats.requests <= before + 1
        bank.open.set()
        stop.set()
        await running
    waited = [op for op in read_history(tmp_path / "h.jsonl").ops if op.phase == "load"]
    assert len(waited) >= 40
    early, late = (pick(waited, key=lambda op: op.scheduled_ns) for pick in (min, max))
    assert early.latency_seconds > late.latency_seconds  # the one waited all of the stall, the other its end


async def test_an_operation_left_unknown_is_resolved_by_its_key(tmp_path: Path) -> None:
    bank = Bank()
    # One attempt an operation: whoever loses the answer has to live with not knowing.
    hasty = Patience(op_s=0.2, attempt_s=0.2, pause_s=0.3, pause_most_s=0.3)
    async with banking(bank, tmp_path / "h.jsonl", patience=hasty) as load:
        await load.prepare(["a"])
        bank.mute_keys = {f"drill-t-{number}" for number in range(1, 1000)}
        await run_until(load, 30)
        bank.mute_keys = set()
        await load.resolve()
    history = read_history(tmp_path / "h.jsonl")
    unknown = [op.op_id for op in history.ops if op.outcome is Outcome.UNKNOWN]
    assert unknown
    assert all(op.outcome is Outcome.OK and op.replayed for op in history.settled() if op.op_id in unknown)


async def test_arrivals_above_the_bound_are_turned_away_and_counted(tmp_path: Path) -> None:
    bank = Bank()
    async with banking(bank, tmp_path / "h.jsonl", rate=400) as load:
        await load.prepare(["a"])
        load.settings = LoadSettings(400, 1, "drill-t", max_in_flight=5)
        bank.open.clear()
        stop = asyncio.Event()
        running = asyncio.create_task(load.run(stop))
        while load.stats.failed < 5:
            assert load.stats.in_flight <= 5
            await asyncio.sleep(0.01)
        bank.open.set()
        stop.set()
        await running


async def test_says_what_is_missing_when_no_loans_can_be_made(tmp_path: Path) -> None:
    async with banking(Bank(), tmp_path / "h.jsonl") as load:
        with pytest.raises(LoadError, match="cell b lacks 3"):
            await load.prepare(["a", "b"], within_s=0.2)


def test_the_same_seed_brings_the_same_customers() -> None:
    first, again = (list(islice(plan_arrivals(5, 40, ["cloud", "idc"]), 200)) for _ in range(2))
    assert first == again
    assert first != list(islice(plan_arrivals(6, 40, ["cloud", "idc"]), 200))


def test_arrivals_ask_for_the_rate_on_average() -> None:
    arrivals = list(islice(plan_arrivals(1, 40, ["cloud", "idc"]), 4000))
    ops = sum(4 if arrival.wish is Wish.NEW_LOAN else 1 for arrival in arrivals)
    assert ops / arrivals[-1].at_s == pytest.approx(40, rel=0.05)


def test_each_entrance_gets_half() -> None:
    arrivals = list(islice(plan_arrivals(1, 40, ["cloud", "idc"]), 1000))
    assert sum(arrival.entrance == "idc" for arrival in arrivals) == 500


def test_people_have_valid_id_numbers_and_differ() -> None:
    people = {make_person("t", number) for number in range(500)}
    assert len({person.id_number for person in people}) == 500
    assert all(person.id_number[17] == compute_check_digit(person.id_number[:17]) for person in people)


def test_check_digit_of_the_standard_example() -> None:
    # The example of GB 11643-1999.
    assert compute_check_digit("11010519491231002") == "X"
