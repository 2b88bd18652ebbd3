"""How an application is decided: steps with their facts, the bureau and its fallbacks, windows, tiers."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from compliance.protection.fields import EVIDENCE_DEVICE
from core_app.commands import make_command
from core_app.decisions.fake_bureau import GOOD, FakeBureau
from core_app.decisions.risk import read_risk
from core_app.decisions.service import Wish, apply_for_loan
from core_app.router import CellUnavailable
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import apply, confirm, make_person, register
from tests.integration.core_app.versions import publish_change

BAD = {"score": 420, "open_accounts": 6, "overdue_12m": 9, "inquiries_90d": 20}
DAY = {"risk": {"night_from_hour": 0, "night_until_hour": 0}}
NIGHT = {"risk": {"night_from_hour": 0, "night_until_hour": 24}}
DEVICE = {"device": "A1B2-C3D4-E5F6"}


@dataclass(frozen=True, slots=True)
class WithoutCell:
    """A router to which one cell is lost for reading."""

    router: Any
    lost: str

    @property
    def cells(self) -> tuple[str, ...]:
        cells: tuple[str, ...] = self.router.cells
        return cells

    @property
    def directory(self) -> Any:
        return self.router.directory

    async def write(self, cell: str, work: Any, *, deadline_seconds: float = 10.0) -> Any:
        return await self.router.write(cell, work, deadline_seconds=deadline_seconds)

    async def read(self, cell: str, work: Any, *, deadline_seconds: float = 10.0) -> Any:
        if cell == self.lost:
            raise CellUnavailable(cell, "not_done")
        return await self.router.read(cell, work, deadline_seconds=deadline_seconds)


async def steps_of(client: Any, decided: Any) -> list[Any]:
    status, shown, _ = await client.get(f"/v1/applications/{decided['application_id']}")
    assert status == 200
    assert (shown["decision"], shown["reasons"]) == (decided["decision"], decided["reasons"])
    steps: list[Any] = shown["steps"]
    return steps


async def register_in(client: Any, core: Any, cell: str) -> str:
    while True:
        customer_id = await register(client)
        if core.cell_of_customer(customer_id) == cell:
            return customer_id


async def test_an_application_shows_its_steps_with_the_versions_they_rest_on(client: Any, core: Any) -> None:
    decided = await apply(client, await register(client))
    identity, fraud, score = await steps_of(client, decided)
    assert [step["step"] for step in (identity, fraud, score)] == ["identity", "fraud", "score"]
    assert {step["outcome"] for step in (identity, fraud, score)} == {"passed"}
    facts = score["facts"]
    models = core.risk.models_on(core.read_today())
    assert [sub["model"] for sub in facts["subs"]] == list(core.risk.policy.models.subs)
    assert facts["main"]["sm3"] == models.main.sm3.hex()
    assert facts["challenger"]["model"] == "credit-challenger"
    assert set(facts["variables"]) == set(core.risk.variables)
    assert facts["inputs"]["bureau.score"] == GOOD["score"]
    assert (facts["tier"], facts["graded"]) == ("A", "A")
    assert (await client.get("/v1/applications/A000-" + "0" * 32))[0] == 404


async def test_a_failed_step_ends_the_application_and_later_steps_are_skipped(client: Any) -> None:
    decided = await apply(client, await register(client, "20100101"))
    steps = await steps_of(client, decided)
    assert [step["outcome"] for step in steps] == ["refused", "skipped", "skipped"]


async def test_a_step_over_its_budget_is_refused_and_says_so(core: Any, cells: Any) -> None:
    ticks = iter(range(1000))
    slow = replace(core, read_elapsed=lambda: next(ticks) * 0.1501)
    async with serve_api(slow, None) as client:
        decided = await apply(client, await register(client))
        assert decided["reasons"][0]["rule"] == "step.identity.over_budget"
        assert decided["limit_fen"] == 0
    rows = await cells.rows("select outcome, elapsed_us from core.decision_steps order by ordinal")
    assert [row[0] for row in rows] == ["over_budget", "skipped", "skipped"]
    assert rows[0][1] > 150_000


async def test_a_cool_off_counts_from_a_refusal_but_not_from_a_step_that_was_too_slow(
    core: Any, cells: Any
) -> None:
    await publish_change(core, eligibility={"cool_off_days": 30})
    ticks = iter(range(1000))
    slow = replace(core, read_elapsed=lambda: next(ticks) * 0.1501)
    async with serve_api(slow, None) as client:
        customer_id = await register(client)
        assert (await apply(client, customer_id))["decision"] == "refused"
    async with serve_api(core, None) as client:
        assert (await apply(client, customer_id))["decision"] == "approved"
        assert (await apply(client, customer_id, purpose="business"))["decision"] == "refused"
        cells.set_business_date("2026-02-13")
        assert [r["rule"] for r in (await apply(client, customer_id))["reasons"]] == ["cool_off"]
        cells.set_business_date("2026-02-14")
        assert "cool_off" not in str((await apply(client, customer_id))["reasons"])


@pytest.mark.parametrize(
    ("bureau", "why"),
    [
        (None, "no_bureau"),
        (FakeBureau(delay_ms=2000), "timeout"),
        (FakeBureau(down=True), "unavailable"),
    ],
)
async def test_without_an_answer_a_tighter_tier_is_given_and_the_reason_is_kept(
    core: Any, cells: Any, bureau: Any, why: str
) -> None:
    async with serve_api(replace(core, bureau=bureau), None) as client:
        customer_id = await register(client)
        small = await apply(client, customer_id, 4_500_000)
        large = await apply(client, customer_id, 4_500_001)
    assert (small["decision"], small["limit_fen"]) == ("approved", 4_500_000)
    assert [(r["rule"], r["limit"]) for r in large["reasons"]] == [("tier.limit", "<= 4500000")]
    facts = "select facts -> 'fallback' ->> 'why' from core.decision_steps where step = 'score'"
    assert set(await cells.rows(facts)) == {(why,)}
    made = await cells.rows("select outcome, elapsed_ms from core.bureau_inquiries")
    assert [row[0] for row in made] == ([] if bureau is None else [why] * 2)


async def test_two_contracts_together_are_held_to_the_tier(core: Any) -> None:
    async with serve_api(replace(core, bureau=None), None) as client:
        customer_id = await register(client)
        decided = [await apply(client, customer_id, 2_300_000) for _ in range(2)]
        answers = [await client.post("/v1/contracts", confirm(one)) for one in decided]
    assert [answer[0] for answer in answers] == [201, 409]
    (error,) = answers[1][1]["errors"]
    assert (error["found"], error["needed"]) == ("tier.limit: 4600000 fen with this contract", "<= 4500000")


async def test_a_partners_score_is_kept_with_the_version_of_its_model(client: Any, cells: Any) -> None:
    brought = {"partner": "partner_bank", "version": "base-3.1", "score": 655}
    decided = await apply(client, await register(client), partner_score=brought)
    facts = (await steps_of(client, decided))[2]["facts"]
    assert (facts["partner"], facts["inputs"]["partner.score"]) == (brought, 655)
    wish = {"customer_id": await register(client), "product": "instalment-12", "amount_fen": 100_000}
    wish |= {"periods": 12, "partner_score": brought | {"score": 1001}}
    status, refused, _ = await client.post("/v1/applications", wish)
    assert (status, refused["errors"][0]["path"]) == (422, "body.partner_score.score")


async def test_an_answer_that_cannot_be_read_is_refused(core: Any) -> None:
    async with serve_api(replace(core, bureau=FakeBureau(usual={"score": "720"})), None) as client:
        decided = await apply(client, await register(client))
    assert [reason["rule"] for reason in decided["reasons"]] == ["bureau.unreadable"]


async def test_without_an_authorisation_the_bureau_is_never_asked(core: Any) -> None:
    bureau = FakeBureau()
    async with serve_api(replace(core, bureau=bureau), None) as client:
        decided = await apply(client, await register(client), bureau_authorisation=None)
        _, _, score = await steps_of(client, decided)
    assert (bureau.inquiries, score["facts"]["fallback"]["why"]) == (0, "not_authorised")
    assert (score["facts"]["graded"], score["facts"]["tier"]) == ("A", "C")


async def test_an_answer_is_used_again_while_it_is_valid_and_a_repeated_command_asks_nobody(
    core: Any, cells: Any
) -> None:
    bureau = FakeBureau()
    async with serve_api(replace(core, bureau=bureau), None) as client:
        customer_id = await register(client)
        wish = {"customer_id": customer_id, "product": "instalment-12", "amount_fen": 10_000, "periods": 3}
        wish |= {"bureau_authorisation": "auth-0001"}
        for _ in range(2):
            assert (await client.post("/v1/applications", wish, "bureau-once-1"))[0] == 201
        assert bureau.inquiries == 1
        cells.set_business_date("2026-02-14")
        await client.post("/v1/applications", wish)
        assert bureau.inquiries == 1
        cells.set_business_date("2026-02-15")
        await client.post("/v1/applications", wish)
        assert bureau.inquiries == 2
    assert len(await cells.rows("select from core.bureau_inquiries")) == 2


async def test_a_bad_report_is_refused_by_the_score_floor(core: Any) -> None:
    person = make_person()
    bureau = FakeBureau(reports={person["id_number"]: BAD})
    async with serve_api(replace(core, bureau=bureau), None) as client:
        _, made, _ = await client.post("/v1/customers", person)
        decided = await apply(client, made["customer_id"])
    (reason,) = decided["reasons"]
    assert (reason["rule"], reason["limit"].split()[:2]) == ("score.floor", [">=", "550"])
    assert decided["limit_fen"] == 0


async def test_the_tier_of_a_customer_is_remembered(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    await apply(client, customer_id)
    decided = await apply(client, customer_id)
    _, _, score = await steps_of(client, decided)
    assert score["facts"]["earlier_tier"] == "A"
    rows = await cells.rows("select tier, policy_version from core.customer_tiers")
    assert rows == [("A", read_risk().policy.version)] * 2


async def test_the_fourth_application_from_one_device_is_refused_in_whatever_cell(
    client: Any, core: Any
) -> None:
    await publish_change(core, **DAY)
    people = [await register_in(client, core, cell) for cell in ("a", "b", "a", "b")]
    decided = [await apply(client, customer_id, evidence=DEVICE) for customer_id in people]
    assert [one["decision"] for one in decided] == ["approved"] * 3 + ["refused"]
    (reason,) = decided[3]["reasons"]
    assert (reason["rule"], reason["value"], reason["limit"]) == ("window.device", 4, "<= 3 in 60 min")
    _, fraud, score = await steps_of(client, decided[3])
    assert fraud["facts"]["windows"] == {"device": 4}
    assert score["outcome"] == "skipped"


@dataclass(frozen=True, slots=True)
class Together:
    """A router that lets nobody go on from a question to another cell before both have asked."""

    router: Any
    asked: asyncio.Barrier

    @property
    def cells(self) -> tuple[str, ...]:
        cells: tuple[str, ...] = self.router.cells
        return cells

    @property
    def directory(self) -> Any:
        return self.router.directory

    async def write(self, cell: str, work: Any, *, deadline_seconds: float = 10.0) -> Any:
        return await self.router.write(cell, work, deadline_seconds=deadline_seconds)

    async def read(self, cell: str, work: Any, *, deadline_seconds: float = 10.0) -> Any:
        found = await self.router.read(cell, work, deadline_seconds=deadline_seconds)
        if work.__qualname__.startswith("count_in_cell"):
            await self.asked.wait()
        return found


async def test_at_one_moment_each_cell_lets_in_at_most_what_is_allowed_of_one_device(
    client: Any, core: Any, cells: Any
) -> None:
    rule = {"window_applications": 1, "step_budget_ms": 60_000}
    await publish_change(core, risk=rule | DAY["risk"])
    customers = [await register_in(client, core, cell) for cell in ("a", "b", "a", "b")]
    together = replace(core, router=Together(core.router, asyncio.Barrier(2)))
    async with serve_api(together, None) as other:
        at_once = await asyncio.gather(*(apply(other, one, evidence=DEVICE) for one in customers[:2]))
    after = [await apply(client, one, evidence=DEVICE) for one in customers[2:]]
    decisions = [one["decision"] for one in (*at_once, *after)]
    assert decisions == ["approved", "approved", "refused", "refused"], "one a cell, and then exactly"
    assert after[0]["reasons"][0]["value"] == 3


async def test_an_application_with_evidence_is_refused_while_another_cell_cannot_be_asked(
    core: Any, cells: Any
) -> None:
    async with serve_api(replace(core, router=WithoutCell(core.router, "b")), None) as client:
        people = [await register_in(client, core, "a") for _ in range(2)]
        with_evidence = await apply(client, people[0], evidence=DEVICE)
        without = await apply(client, people[1])
    assert [r["rule"] for r in with_evidence["reasons"]] == ["window.unknown"]
    assert without["decision"] == "approved"


async def test_at_night_the_second_one_is_refused(client: Any, core: Any) -> None:
    await publish_change(core, **NIGHT)
    first = await apply(client, await register(client), evidence={"wifi": "aa:bb:cc:dd:ee:ff"})
    second = await apply(client, await register(client), evidence={"wifi": "AABBCCDDEEFF"})
    assert first["decision"] == "approved"
    assert [r["rule"] for r in second["reasons"]] == ["night.wifi"]


async def test_applications_at_once_are_counted_exactly(client: Any, core: Any, cells: Any) -> None:
    await publish_change(core, **DAY)
    people = [await register_in(client, core, "a") for _ in range(10)]
    evidence = DEVICE | {"wifi": "aa:bb:cc:dd:ee:ff", "ip": "10.1.2.3", "address": "上海市浦东新区一号"}
    decided = await asyncio.gather(*(apply(client, one, evidence=evidence) for one in people))
    assert sorted(one["decision"] for one in decided) == ["approved"] * 3 + ["refused"] * 7
    counts = "select facts -> 'windows' ->> 'device' from core.decision_steps where step = 'fraud'"
    assert sorted(int(row[0]) for row in await cells.rows(counts)) == list(range(1, 11))


async def test_an_old_application_has_left_the_window(client: Any, core: Any, cells: Any) -> None:
    await publish_change(core, **DAY)
    decided = await apply(client, await register_in(client, core, "a"))
    index = core.vault.blind_index(EVIDENCE_DEVICE, DEVICE["device"]).hex()
    for minutes in (59, 61, 61):
        other = await apply(client, await register_in(client, core, "a"))
        cells.run_sql(
            cells.databases["a"],
            "insert into core.evidence select application_id, customer_id, 'device',"
            f" decode('{index}', 'hex'), now() - interval '{minutes} minutes' from core.applications"
            f" where application_id = '{other['application_id']}'",
        )
    decided = await apply(client, await register_in(client, core, "a"), evidence=DEVICE)
    _, fraud, _ = await steps_of(client, decided)
    assert fraud["facts"]["windows"] == {"device": 2}


async def test_a_repeated_command_counts_once(client: Any, core: Any, cells: Any) -> None:
    wish = {"customer_id": await register(client), "product": "instalment-12", "amount_fen": 10_000}
    wish |= {"periods": 3, "evidence": DEVICE}
    for _ in range(3):
        assert (await client.post("/v1/applications", wish, "evidence-once"))[0] == 201
    assert len(await cells.rows("select from core.evidence")) == 1


async def test_no_evidence_in_clear_reaches_the_database(client: Any, cells: Any) -> None:
    evidence = {"device": "CANARY-DEVICE-1", "ip": "203.0.113.77", "address": "金丝雀路七十七号院"}
    decided = await apply(client, await register(client), evidence=evidence)
    assert decided["decision"] == "approved"
    dumps = "".join(
        cells.server.run("pg_dump", "-U", "biyi_admin", "-d", name) for name in cells.databases.values()
    )
    assert decided["application_id"] in dumps
    for value in evidence.values():
        assert value not in dumps
        assert value.encode().hex() not in dumps


async def test_a_bad_piece_of_evidence_names_its_field(client: Any, cells: Any) -> None:
    wish = {"customer_id": await register(client), "product": "instalment-12", "amount_fen": 10_000}
    wish |= {"periods": 3, "evidence": {"ip": "here"}}
    status, problem, _ = await client.post("/v1/applications", wish)
    assert (status, problem["errors"][0]["path"]) == (422, "body.evidence.ip")
    assert (await cells.counts())["applications"] == 0


async def test_a_command_run_again_by_the_router_asks_the_bureau_once(core: Any, cells: Any) -> None:
    """What the router does when the answer to a COMMIT was lost: the same work, once more."""
    bureau = FakeBureau()
    asking = replace(core, bureau=bureau)
    async with serve_api(asking, None) as client:
        customer_id = await register(client)
    wish = Wish(customer_id, "instalment-12", 10_000, 3, authorisation="auth-0001", evidence=DEVICE)
    command = make_command(asking, "run-again-2", "application", {"customer_id": customer_id})
    first = await apply_for_loan(asking, command, wish)
    again = await apply_for_loan(asking, command, wish)
    assert (again.answer.body, again.answer.replayed) == (first.answer.body, True)
    assert bureau.inquiries == 1


async def test_contracts_are_signed_on_what_was_decided(client: Any) -> None:
    decided = await apply(client, await register(client), evidence=DEVICE)
    assert (await client.post("/v1/contracts", confirm(decided)))[0] == 201


@pytest.mark.parametrize(
    "table", ["decision_steps", "customer_tiers", "bureau_inquiries", "evidence", "limit_changes"]
)
async def test_what_a_decision_rested_on_cannot_be_changed_by_the_core(
    core: Any, cells: Any, table: str
) -> None:
    for user, state in (("biyi_owner", "BY103"), ("biyi_app", "42501")):
        dsn = cells.server.dsn(cells.databases["a"], user)
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(psycopg.Error) as refused:
                await connection.execute(f"delete from core.{table}")
        assert refused.value.sqlstate == state
