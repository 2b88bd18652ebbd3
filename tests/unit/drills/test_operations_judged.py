"""What fail-back, split brain, burst and release must keep: the good history holds, each bad one is red."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from replication.model import CopyId, Grant, Mode, Site
from runbooks.claims import Claim, judge_claims
from runbooks.drills.background import Background, find_injections, measure_promises, measure_steady_state
from runbooks.drills.catalogue import DRILLS, read_runbook
from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.cloud_burst import REPLICAS, judge_burst
from runbooks.drills.fail_back import judge_fail_back
from runbooks.drills.faulty_release import EVERY, Defect
from runbooks.drills.grey_release import (
    ERRORS_MORE,
    LEAST,
    Answers,
    Judgement,
    count_answers,
    decide_release,
    judge_release,
)
from runbooks.drills.records import Attempt, GrantNote, History, Mark, Op, Outcome
from runbooks.drills.report import render_report
from runbooks.drills.report_sections import render_seen
from runbooks.drills.runbook_zh import read_runbooks_zh
from runbooks.drills.split_brain import STEP_DOWN_S, judge_split_brain
from runbooks.drills.staff_compromise import SHUT_S, judge_compromise
from runbooks.drills.story import tell_site_loss
from runbooks.drills.verdict import render_site_loss
from runbooks.drills.wording import MEANINGS
from runbooks.evidence import read_decisions_made
from tests.unit.drills.made_drill import HOMES as MADE_HOMES
from tests.unit.drills.made_drill import KILL_S, make_history, make_result, make_stages, ns
from tests.unit.drills.making import SECOND, make_grant, make_op

HOMES = {"a": "idc", "b": "cloud"}
SYNC = (make_grant(0.1, "a", "idc", "cloud"), make_grant(0.1, "b", "cloud", "idc"))
END_S = 40


def made_ops(*, epoch_a_from_s: float = 99.0, entrances: Sequence[str] = ("idc", "cloud")) -> list[Op]:
    """One write each half second and cell; cell a's epoch is 2 from a second on."""
    found = []
    for number in range(2, 2 * END_S):
        for cell in "ab":
            at = int(number / 2 * SECOND)
            entrance = entrances[number % len(entrances)]
            found.append(
                make_op(
                    2 * number + (cell == "b"),
                    cell=cell,
                    epoch=2 if cell == "a" and number / 2 >= epoch_a_from_s else 1,
                    phase="load",
                    scheduled_ns=at,
                    invoked_ns=at,
                    completed_ns=at + 10_000_000,
                    attempts=(Attempt(entrance, at, at + 10_000_000, Outcome.OK, 201),),
                )
            )
    return found


def made(ops: Sequence[Op], grants: Sequence[GrantNote], *marks: tuple[float, str, str]) -> History:
    base = [(10.0, "fault", ""), (30.0, "healed", ""), (36.0, "home", ""), (float(END_S), "load_stop", "")]
    found = [Mark(ns(at), name, text) for at, name, text in sorted([*base, *marks])]
    return History(None, tuple(ops), grants=tuple(grants), marks=tuple(found))


def red(findings: Sequence[Finding]) -> set[str]:
    return {finding.name for finding in findings if finding.verdict is not Verdict.HOLDS}


FAIL_BACK = (
    *SYNC,
    make_grant(11.2, "a", "idc", "cloud", epoch=2, mode="TAKING"),
    make_grant(11.6, "a", "cloud", epoch=2, mode="ALONE"),
    make_grant(25.0, "a", "cloud", "idc", epoch=2),
    make_grant(35.0, "a", "idc", "cloud", epoch=3),
)
BACK = ((25.0, "rejoined", ""), (30.0, "released", ""))
judge_idc_back = partial(judge_fail_back, homes=HOMES, site=Site.IDC)


def test_a_held_fail_back_that_goes_home_when_released_holds() -> None:
    assert red(judge_idc_back(made(made_ops(epoch_a_from_s=11.6), FAIL_BACK, *BACK))) == set()


@pytest.mark.parametrize(
    ("history", "wanted"),
    [
        (
            made(made_ops(epoch_a_from_s=11.6), [*FAIL_BACK, make_grant(27.0, "a", "idc", epoch=3)], *BACK),
            "stayed_while_held",
        ),
        (made(made_ops(), FAIL_BACK, *BACK), "took_over_in_time"),
        (made(made_ops(epoch_a_from_s=11.6), FAIL_BACK, BACK[1]), "rejoined_in_time"),
        (
            made(
                [op for op in made_ops(epoch_a_from_s=11.6) if not ns(33) < op.scheduled_ns < ns(36)]
                + [make_op(900, cell="a", epoch=3, phase="load", scheduled_ns=ns(33.5), completed_ns=ns(36))],
                FAIL_BACK,
                *BACK,
            ),
            "fail_back_pauses_in_limit",
        ),
        (
            made(
                [
                    replace(op, outcome=Outcome.FAIL) if op.scheduled_ns == ns(34) else op
                    for op in made_ops(epoch_a_from_s=11.6)
                ],
                FAIL_BACK,
                *BACK,
            ),
            "fail_back_failed_nobody",
        ),
    ],
    ids=["went home while held", "never taken over", "never rejoined", "paused too long", "a request failed"],
)
def test_each_thing_a_fail_back_must_keep(history: History, wanted: str) -> None:
    assert wanted in red(judge_idc_back(history))


CLAIMED = ((10.1, "two_claims", "x"), (12.0, "one_claim", "y"), (20.0, "looked", "200 looks"))


def test_a_suspicion_that_two_never_wrote_holds() -> None:
    assert red(judge_split_brain(made(made_ops(), SYNC, *CLAIMED), HOMES)) == set()


@pytest.mark.parametrize(
    ("marks", "wanted"),
    [
        (CLAIMED[2:], {"suspicion_was_real", "pretender_stepped_down"}),
        ((*CLAIMED, (11.0, "two_writers", "both")), {"never_two_writers"}),
        ((CLAIMED[0], (10.2 + STEP_DOWN_S, "one_claim", ""), CLAIMED[2]), {"pretender_stepped_down"}),
        (CLAIMED[:2], {"never_two_writers"}),
    ],
    ids=["nobody claimed", "two could write", "stayed too long", "nobody looked"],
)
def test_each_thing_a_suspicion_must_show(
    marks: tuple[tuple[float, str, str], ...], wanted: set[str]
) -> None:
    assert red(judge_split_brain(made(made_ops(), SYNC, *marks), HOMES)) == wanted


def test_a_split_brain_that_changes_the_grant_is_red() -> None:
    grants = (*SYNC, make_grant(12.0, "a", "cloud", "idc", epoch=2))
    assert red(judge_split_brain(made(made_ops(), grants, *CLAIMED), HOMES)) == {"nothing_was_promoted"}


def claim(place: str, claims: bool | None, admits: bool | None) -> Claim:
    return Claim(place, place.split("-")[0], claims, admits)


def grant_of(cell: str) -> dict[str, Grant]:
    primary = CopyId.parse(f"{cell}-idc-0-x1")
    return {cell: Grant(cell=cell, epoch=3, mode=Mode.ALONE, primary=primary, sync_set=frozenset())}


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        (claim("a-cloud-0", False, False), Verdict.HOLDS),
        (claim("a-cloud-0", True, False), Verdict.HOLDS),
        (claim("a-cloud-0", True, True), Verdict.BROKEN),
        (claim("a-cloud-0", True, None), Verdict.UNKNOWN),
        (claim("a-cloud-0", None, None), Verdict.UNKNOWN),
    ],
    ids=["a standby", "a fenced pretender", "a second writer", "a pretender's door unknown", "silent"],
)
def test_who_claims_it_is_judged_by_the_grant(other: Claim, wanted: Verdict) -> None:
    (found,) = judge_claims([claim("a-idc-0", True, True), other], grant_of("a"))
    assert found.verdict is wanted


def test_without_a_grant_nobody_may_write() -> None:
    (found,) = judge_claims([claim("a-idc-0", True, True)], {})
    assert found.verdict is Verdict.BROKEN


def test_a_burst_holds_only_if_every_replica_served() -> None:
    everywhere = made_ops(entrances=("idc", "cloud", *REPLICAS))
    assert red(judge_burst(made(everywhere, SYNC), HOMES)) == set()
    assert red(judge_burst(made(made_ops(entrances=("idc", REPLICAS[0])), SYNC), HOMES)) == {
        "every_replica_served"
    }


RELEASED = ((12.0, "rolled_back", ""), (15.0, "replaced", "idc"), (20.0, "replaced", "cloud"))


@pytest.mark.parametrize(
    ("marks", "wanted"),
    [
        (RELEASED, set()),
        (RELEASED[1:], {"faulty_release_was_rolled_back"}),
        (RELEASED[:2], {"every_node_was_replaced"}),
        (((16.0, "rolled_back", ""), *RELEASED[1:]), {"faulty_release_was_rolled_back"}),
    ],
    ids=["good", "never rolled back", "a node left", "rolled back too late"],
)
def test_each_thing_a_release_must_keep(marks: tuple[tuple[float, str, str], ...], wanted: set[str]) -> None:
    assert red(judge_release(made(made_ops(), SYNC, *marks), HOMES)) == wanted


OLD = Answers(500, 0, 40.0)


@pytest.mark.parametrize(
    ("new", "wanted"),
    [
        (Answers(LEAST - 1, LEAST - 1, 40.0), Judgement.TOO_FEW),
        (Answers(LEAST, 0, 40.0), Judgement.GO_ON),
        (Answers(200, 4, 40.0), Judgement.GO_ON),
        (Answers(200, 5, 40.0), Judgement.ROLL_BACK),
        (Answers(LEAST, 0, 139.0), Judgement.GO_ON),
        (Answers(LEAST, 0, 141.0), Judgement.ROLL_BACK),
    ],
)
def test_a_release_is_judged_by_what_its_customers_got(new: Answers, wanted: Judgement) -> None:
    assert decide_release(OLD, new)[0] is wanted


async def test_the_drills_defect_fails_one_write_in_so_many_and_no_read() -> None:
    async def good(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    statuses: dict[str, list[int]] = {"POST": [], "GET": []}
    defect = Defect(good)
    for method, found in statuses.items():
        for _ in range(3 * EVERY):

            async def keep(message: Message, found: list[int] = found) -> None:
                if message["type"] == "http.response.start":
                    found.append(message["status"])

            await defect({"type": "http", "method": method}, nothing, keep)
    assert statuses["POST"].count(500) == 3
    assert set(statuses["GET"]) == {201}


def test_every_finding_of_these_drills_has_words_in_both_languages() -> None:
    history = made(made_ops(), SYNC)
    judges = (judge_idc_back, partial(judge_split_brain, homes=HOMES), partial(judge_burst, homes=HOMES))
    findings = [found for judge in judges for found in judge(history)]
    findings += [*judge_release(history, HOMES), *judge_compromise(history, HOMES)]
    assert {found.name for found in findings} <= MEANINGS.keys()


COMPROMISE = tuple(
    (12.0 + number / 10, name, "")
    for number, name in enumerate(
        (
            "disabled", "sessions_refused", "stolen_session_bound_to_address", "password_refused",
            "reopening_takes_two", "changes_name_who_and_why", "scoring_saw_each_look",
        )
    )
)  # fmt: skip


def test_a_stolen_session_that_was_shut_with_proof_holds() -> None:
    assert red(judge_compromise(made(made_ops(), SYNC, *COMPROMISE), HOMES)) == set()


@pytest.mark.parametrize("missing", range(1, len(COMPROMISE)))
def test_what_was_not_seen_of_a_stolen_session_is_red(missing: int) -> None:
    marks = [mark for number, mark in enumerate(COMPROMISE) if number != missing]
    name = COMPROMISE[missing][1]
    wanted = "sessions_ended_in_time" if name == "sessions_refused" else name
    assert red(judge_compromise(made(made_ops(), SYNC, *marks), HOMES)) == {wanted}


def test_a_session_that_was_served_for_too_long_is_red() -> None:
    late = [mark for mark in COMPROMISE if mark[1] != "sessions_refused"]
    late.append((12.0 + SHUT_S + 0.1, "sessions_refused", ""))
    assert red(judge_compromise(made(made_ops(), SYNC, *late), HOMES)) == {"sessions_ended_in_time"}


def test_errors_that_the_old_nodes_have_too_are_not_the_releases() -> None:
    assert decide_release(Answers(500, 50, 40.0), Answers(100, 11, 40.0))[0] is Judgement.GO_ON


def test_the_drills_defect_is_far_above_what_a_release_may_err() -> None:
    assert 1 / EVERY > 3 * ERRORS_MORE


def test_an_answer_that_leaves_its_customer_not_knowing_is_an_error() -> None:
    attempts = [
        Attempt("x", 0, 10_000_000, Outcome.OK, 201),
        Attempt("x", 0, 20_000_000, Outcome.UNKNOWN, 500),
        Attempt("x", 0, 30_000_000, Outcome.FAIL, 422),
    ]
    assert (count_answers(attempts).count, count_answers(attempts).errors) == (3, 1)
    assert count_answers([]) == Answers(0, 0, 0.0)


def test_every_report_measures_against_the_promise() -> None:
    history = make_history()
    found = {one.what: one for one in measure_promises(history, {"lost": 0}, ns(KILL_S))}
    assert found["RTO, cell a"].verdict is Verdict.HOLDS
    assert 1.0 < float(found["RTO, cell a"].figure.split()[0]) < 2.0
    assert "RTO, cell b" not in found
    assert found["RPO: what was acknowledged"].verdict is Verdict.HOLDS
    pause = next(name for name in found if "pause, cell a" in name)
    assert (found[pause].promise, found[pause].verdict) == ("at most 5 s", Verdict.HOLDS)
    own = measure_promises(history, {"write_pause_limit_seconds": 1.0}, ns(KILL_S))
    stricter = next(one for one in own if one.what == pause)
    assert (stricter.promise, stricter.verdict) == ("at most 1 s", Verdict.BROKEN)
    assert measure_promises(history, {"lost": {"idc": 1, "cloud": 0}}, 0)[-1].verdict is Verdict.BROKEN
    assert measure_promises(history, {}, 0)[-1].verdict is Verdict.UNKNOWN


def test_a_cell_that_never_writes_again_has_no_good_rto() -> None:
    history = make_history()
    early = replace(history, ops=tuple(op for op in history.ops if op.cell == "b" or op.epoch == 1))
    rto = next(one for one in measure_promises(early, {}, ns(KILL_S)) if one.what == "RTO, cell a")
    assert (rto.figure, rto.verdict) == ("never", Verdict.BROKEN)


def test_the_steady_state_is_what_came_before_the_injection() -> None:
    steady = measure_steady_state(make_history(), ns(KILL_S))
    assert steady is not None
    assert (steady.seconds, steady.failed, set(steady.cells)) == (KILL_S - 1, 0, set(MADE_HOMES))
    assert 38 < steady.per_second < 41
    assert measure_steady_state(make_history(), ns(0.5)) is None


def test_the_report_has_every_section_a_reader_asks_for(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    (journals / "cloud-a-cloud-0.jsonl").write_text(
        '{"mono_ns": 9000000000, "place": "a-cloud-0", "cell": "a", "decision": "take", '
        '"why": "primary_site_silent", "epoch": 2}\n'
        '{"mono_ns": 9100000000, "place": "a-cloud-0", "cell": "a", "stage": "promoted", "epoch": 2}\n'
    )
    (decision,) = read_decisions_made(journals)
    assert (decision.step, decision.why) == ("take", "primary_site_silent")
    history = make_history()
    result = make_result(history)
    drill = DRILLS["site-loss"]
    said, said_zh = read_runbook(drill), read_runbooks_zh()[drill.name]
    background = Background(said.steps, said.sections, said_zh.steps, said_zh.sections, (decision,))
    told = tell_site_loss(history, result, render_site_loss(result, history, 0), make_stages())
    page = render_report(told, background)
    assert "<li>kill the site<br><small lang=zh>关停整个站点</small></li>" in page
    assert "beat stands still and its stream or probe is dead" in page
    assert "主库的心跳停止" in page
    assert "<code>primary_site_silent</code>" in page
    for section in (
        "Steady state",
        "Injection",
        "Measured against the promise",
        "Decisions and their reasons",
    ):
        assert f"<h2>{section}" in page
    assert [mark.name for mark in find_injections(history)] == ["kill"]


@pytest.mark.parametrize(
    ("row", "title"),
    [
        ({"cell": "a", "failed": 0}, "What customers of each cell saw"),
        ({"bank": "east", "payments in its book": 7}, "What each bank's book says"),
        ({"door": "agent", "lets": "new"}, "What each door did"),
        ({"cell": "a", "version 1": 0, "version 2": 7}, "What is sealed under which key version"),
    ],
)
def test_a_drills_own_table_says_what_it_shows(row: dict[str, object], title: str) -> None:
    page = render_seen([row])
    assert f"<h2>{title} <small" in page
    assert page.count("<thead>") == 1
    assert render_seen([]) == ""
