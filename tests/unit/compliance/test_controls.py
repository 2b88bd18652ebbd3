"""The 257 items as data, and that nothing is called met that nobody has seen met."""

import collections
import dataclasses
import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.audit.signing import PublicKeys, make_signer
from compliance.controls.catalogue import Basis, Catalogue, Check, Probe, Scope, find_faults, read_catalogue
from compliance.controls.gather import SITE_PROBES, SYSTEM_PROBES
from compliance.controls.judge import Attested, Outcome, Seen, State, Verdict, judge, judge_check, worst
from compliance.controls.pack import Run, render_pack, verify_pack
from compliance.controls.readings import SYSTEM, Reading, make_reading
from compliance.controls.score import Conclusion, compute_score, conclude

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
SITES = ("idc", "cloud")
CATALOGUE = read_catalogue()
LIVE = [item for item in CATALOGUE.items.values() if item.basis is Basis.LIVE]


def passing(check: Check) -> Any:
    return {"empty": [], "in": check.value[0] if check.op == "in" else None}.get(check.op, check.value)


def failing(check: Check) -> Any:
    if check.op == "empty":
        return ["something"]
    if check.op == "in" or isinstance(check.value, str):
        return "something else"
    if isinstance(check.value, bool):
        return not check.value
    return check.value + (1 if check.op in ("<=", "==") else -1)


def facts_of(probe: Probe) -> dict[str, Any]:
    facts = {check.fact: passing(check) for check in probe.checks}
    # Two checks of one fact are the two ends of a range.
    return facts | ({"failures_to_lock": 5} if probe.name == "lockout" else {})


def places_of(probe: Probe) -> tuple[str, ...]:
    return SITES if probe.scope is Scope.SITE else (SYSTEM,)


def all_good() -> list[Reading]:
    return [
        make_reading(probe.name, where, NOW, facts_of(probe))
        for probe in CATALOGUE.probes.values()
        for where in places_of(probe)
    ]


def attest_all(**changed: Any) -> list[Attested]:
    return [
        dataclasses.replace(
            Attested(
                f"T{number:032x}", item, True, "security", "it is so", "paper.pdf", "00" * 32,
                NOW.date(), NOW.date() + dt.timedelta(365), "zhang.san", "li.si", False,
            ),
            **changed,
        )
        for number, item in enumerate(CATALOGUE.items)
    ]  # fmt: skip


def judged(readings: list[Reading], attestations: list[Attested] | None = None) -> dict[str, Outcome]:
    seen = Seen(SITES, NOW, readings, attest_all() if attestations is None else attestations)
    return judge(CATALOGUE, seen)


def test_there_are_257_items_tagged_as_the_research_counts_them() -> None:
    general = [item for item in CATALOGUE.items.values() if item.id.startswith("8.1")]
    counts = collections.Counter(str(item.basis) for item in CATALOGUE.items.values())
    assert (len(CATALOGUE.items), len(general)) == (257, 211)
    assert counts == {"live": 45, "partial": 93, "attested": 119}
    by_class = collections.Counter(".".join(item.id.split(".")[:3]) for item in CATALOGUE.items.values())
    assert list(by_class.values()) == [22, 8, 20, 34, 12, 7, 14, 12, 34, 48, 1, 5, 8, 19, 4, 8, 1]


def test_every_probe_of_the_catalogue_is_there_and_no_other() -> None:
    assert SITE_PROBES.keys() | SYSTEM_PROBES.keys() == CATALOGUE.probes.keys()
    for name, probe in CATALOGUE.probes.items():
        assert (name in SITE_PROBES) == (probe.scope is Scope.SITE)


def test_a_catalogue_whose_parts_do_not_fit_is_refused() -> None:
    item = CATALOGUE.items["8.1.1.1.a"]
    broken = {"8.1.1.1.a": dataclasses.replace(item, probes=("no-such",), basis=Basis.LIVE)}
    faults = find_faults(dataclasses.replace(CATALOGUE, items=broken))
    assert any("no probe no-such" in fault for fault in faults)
    unproven = {"8.1.1.1.a": dataclasses.replace(item, basis=Basis.LIVE)}
    assert any("live, but no probe" in f for f in find_faults(dataclasses.replace(CATALOGUE, items=unproven)))


def test_everything_seen_good_and_attested_is_met() -> None:
    assert {one.state for one in judged(all_good()).values()} == {State.MET}


def test_nothing_seen_is_unknown_everywhere_and_scores_nothing() -> None:
    outcomes = judged([], [])
    assert {one.state for one in outcomes.values()} == {State.UNKNOWN}
    score = compute_score(CATALOGUE, outcomes)
    assert (score.met_percent, score.points_2021) == (0, 0)
    assert score.conclusion_2025 is Conclusion.DOES_NOT


def resting_on(name: str) -> set[str]:
    return {item.id for item in CATALOGUE.items.values() if name in item.probes}


@pytest.mark.parametrize("name", CATALOGUE.probes)
@pytest.mark.parametrize(
    "forged", ["off", "old", "ahead", "unreachable", "silent", "lying", "another site's"]
)
def test_a_forged_source_changes_the_verdict_of_all_that_rests_on_it(name: str, forged: str) -> None:
    probe, readings = CATALOGUE.probes[name], all_good()
    place = places_of(probe)[-1]
    spot = next(n for n, one in enumerate(readings) if (one.probe, one.where) == (name, place))
    good = readings[spot]
    expected = State.UNKNOWN
    if forged == "off":
        first = probe.checks[0]
        facts = {**(good.facts or {}), first.fact: failing(first)}
        if first.unless:
            facts[first.unless] = False
        readings[spot], expected = make_reading(name, place, NOW, facts), State.NOT_MET
    elif forged == "old":
        at = NOW - dt.timedelta(seconds=probe.max_age_s + 1)
        readings[spot] = make_reading(name, place, at, good.facts)
    elif forged == "ahead":
        readings[spot] = make_reading(name, place, NOW + dt.timedelta(minutes=1), good.facts)
    elif forged == "unreachable":
        readings[spot] = make_reading(name, place, NOW, None, "TimeoutError")
    elif forged == "silent":
        readings[spot] = make_reading(name, place, NOW, {})
    elif forged == "lying":  # facts exchanged behind the hash
        readings[spot] = dataclasses.replace(good, facts={**(good.facts or {}), "added": 1})
    else:
        readings[spot] = make_reading(name, "elsewhere", NOW, good.facts)
    outcomes = judged(readings)
    changed = {item for item, one in outcomes.items() if one.state is not State.MET}
    assert changed == resting_on(name)
    assert {outcomes[item].state for item in changed} == {expected}


@pytest.mark.parametrize(
    "check", [check for probe in CATALOGUE.probes.values() for check in probe.checks],
    ids=lambda check: f"{check.probe}-{check.fact}-{check.op}",
)  # fmt: skip
def test_each_check_passes_and_fails_and_does_not_know(check: Check) -> None:
    assert judge_check(check, {check.fact: passing(check)})[0] is State.MET
    assert judge_check(check, {check.fact: failing(check)})[0] is State.NOT_MET
    assert judge_check(check, {})[0] is State.UNKNOWN
    wrong_type: Any = 7 if check.op in ("empty", "in") or isinstance(check.value, bool | str) else "seven"
    assert judge_check(check, {check.fact: wrong_type})[0] is State.UNKNOWN


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"confirmed_by": None}, State.UNKNOWN),
        ({"confirmed_by": "zhang.san"}, State.UNKNOWN),
        ({"withdrawn": True}, State.UNKNOWN),
        ({"valid_to": NOW.date() - dt.timedelta(1)}, State.UNKNOWN),
        ({"valid_from": NOW.date() + dt.timedelta(1)}, State.UNKNOWN),
        ({"holds": False}, State.NOT_MET),
    ],
)
def test_an_attestation_that_does_not_count_leaves_unknown(changed: dict[str, Any], expected: State) -> None:
    outcomes = judged(all_good(), attest_all(**changed))
    for item in CATALOGUE.items.values():
        wanted = State.MET if item.basis is Basis.LIVE else expected
        assert outcomes[item.id].state is wanted


def test_the_newest_word_of_two_people_counts_and_on_one_day_the_worse() -> None:
    item, today = "8.1.6.1", NOW.date()

    def say(mark: str, *, holds: bool, since: int = 0, **changed: Any) -> Attested:
        one = next(one for one in attest_all() if one.item == item)
        made = {"attestation_id": mark, "holds": holds, "valid_from": today - dt.timedelta(since)}
        return dataclasses.replace(one, **made, **changed)

    def state_of(*said: Attested) -> State:
        return judged(all_good(), list(said))[item].state

    older_no, yes = say("T1", holds=False, since=9), say("T2", holds=True, since=3)
    assert state_of(older_no, yes) is state_of(yes, older_no) is State.MET
    assert state_of(yes, say("T3", holds=False)) is State.NOT_MET
    for marks in (("T4", "T5"), ("T5", "T4")):
        assert state_of(say(marks[0], holds=True), say(marks[1], holds=False)) is State.NOT_MET
    unconfirmed = say("T6", holds=False, confirmed_by=None)
    assert state_of(yes, unconfirmed) is State.MET, "one person alone changes nothing"
    assert state_of(yes, say("T7", holds=False, withdrawn=True)) is State.MET


def test_the_newest_reading_of_a_place_counts() -> None:
    readings, name = all_good(), "integrity"
    broken = {**facts_of(CATALOGUE.probes[name]), "checksum_failures": 3}
    earlier = make_reading(name, "cloud", NOW - dt.timedelta(minutes=5), broken)
    for seen in ([earlier, *readings], [*readings, earlier]):
        assert judged(seen)["8.1.4.7.b"].state is State.MET
    rest = [one for one in readings if (one.probe, one.where) != (name, "cloud")]
    good_then = make_reading(name, "cloud", NOW - dt.timedelta(minutes=5), facts_of(CATALOGUE.probes[name]))
    bad_now = make_reading(name, "cloud", NOW, broken)
    for seen in ([good_then, bad_now, *rest], [bad_now, good_then, *rest]):
        assert judged(seen)["8.1.4.7.b"].state is State.NOT_MET


def test_a_site_that_fails_is_not_made_good_by_the_other() -> None:
    readings = [one for one in all_good() if (one.probe, one.where) != ("integrity", "cloud")]
    broken = {**facts_of(CATALOGUE.probes["integrity"]), "checksum_failures": 3}
    outcome = judged([*readings, make_reading("integrity", "cloud", NOW, broken)])["8.1.4.7.b"]
    assert (outcome.state, outcome.met_share) == (State.NOT_MET, 0.5)
    assert [one.state for one in outcome.verdicts] == [State.MET, State.NOT_MET]


@given(st.lists(st.sampled_from(list(State)), min_size=1, max_size=6))
def test_the_worst_state_wins(states: list[State]) -> None:
    order = [State.NOT_MET, State.UNKNOWN, State.MET]
    assert worst(states) is min(states, key=order.index)


def made_outcome(item: str, *states: State) -> Outcome:
    verdicts = tuple(Verdict(item, f"site-{n}", state, (), ()) for n, state in enumerate(states))
    return Outcome(item, worst(states), verdicts)


def small_catalogue() -> Catalogue:
    """Four items by hand: two technical (weights 3 and 1), two managerial (weights 2 and 1)."""
    names = {"8.1.4.1.d": 3, "8.1.1.1.a": 1, "8.1.6.1": 2, "8.1.8.1.a": 1}
    items = {
        name: dataclasses.replace(CATALOGUE.items[name], weight=weight) for name, weight in names.items()
    }
    triggers = tuple(one for one in CATALOGUE.triggers if one.id == "A-19")
    return dataclasses.replace(CATALOGUE, items=items, triggers=triggers)


def test_the_scores_are_those_computed_by_hand() -> None:
    outcomes = {
        "8.1.4.1.d": made_outcome("8.1.4.1.d", State.MET, State.NOT_MET),
        "8.1.1.1.a": made_outcome("8.1.1.1.a", State.MET),
        "8.1.6.1": made_outcome("8.1.6.1", State.UNKNOWN),
        "8.1.8.1.a": made_outcome("8.1.8.1.a", State.MET),
    }
    score = compute_score(small_catalogue(), outcomes)
    # S = 25: technical 50 - 3 x 0.5 x 25 = 12.5; managerial 50 - 2 x 1 x 25 = 0.
    assert (score.points_2021, score.band_2021) == (12.5, "差 poor")
    assert (score.met_percent, score.if_known_percent) == (50, 75)
    assert score.conclusion_2025 is Conclusion.DOES_NOT
    assert [one.trigger.id for one in score.triggers if one.state is State.NOT_MET] == ["A-19"]
    # A raised trigger comes first although the other gap costs more.
    assert [(gap.item, gap.cost) for gap in score.gaps] == [("8.1.4.1.d", 37.5), ("8.1.6.1", 50.0)]


@pytest.mark.parametrize(
    ("open_items", "heaviest", "points", "band"),
    [
        (0, 1, 100, "优 excellent"),
        (2, 1, 90, "优 excellent"),
        (4, 1, 80, "良 good"),
        (6, 1, 70, "中 fair"),
        (7, 1, 65, "差 poor"),
        (1, 2, 90, "良 good"),
        (5, 2, 70, "中 fair"),
        (1, 3, 85, "差 poor"),
    ],
)
def test_the_band_of_2021_follows_points_and_the_heaviest_gap(
    open_items: int, heaviest: int, points: float, band: str
) -> None:
    """Twenty items of weight 1, so five points each; the first open one may weigh more."""
    technical = [item for item in CATALOGUE.items.values() if not item.managerial][:10]
    managerial = [item for item in CATALOGUE.items.values() if item.managerial][:10]
    twenty = [*technical, *managerial]
    items = {item.id: dataclasses.replace(item, weight=1) for item in twenty}
    items[twenty[0].id] = dataclasses.replace(twenty[0], weight=heaviest)
    outcomes = {
        item.id: made_outcome(item.id, State.NOT_MET if place < open_items else State.MET)
        for place, item in enumerate(twenty)
    }
    score = compute_score(dataclasses.replace(CATALOGUE, items=items, triggers=()), outcomes)
    assert (score.points_2021, score.band_2021) == (points, band)


def test_gaps_come_by_serious_risk_then_by_what_they_cost() -> None:
    gaps = compute_score(CATALOGUE, judged([], [])).gaps
    assert len(gaps) == 257
    order = [(not gap.triggers, -gap.cost) for gap in gaps]
    assert order == sorted(order)
    assert len({cost for _, cost in order}) == 3, "one for each weight"


def test_a_risk_that_cannot_be_excluded_keeps_2025_from_complying() -> None:
    outcomes = judged(all_good())
    assert compute_score(CATALOGUE, outcomes).conclusion_2025 is Conclusion.COMPLIES
    silent = [one for one in all_good() if one.probe != "second-factor"]
    score = compute_score(CATALOGUE, judged(silent))
    assert score.met_percent > 90
    assert [one.trigger.id for one in score.triggers if one.state is State.UNKNOWN] == ["A-19"]
    assert score.conclusion_2025 is Conclusion.IN_THE_MAIN


@pytest.mark.parametrize(
    ("percent", "at_risk", "expected"),
    [
        (90.01, False, Conclusion.COMPLIES),
        (90.0, False, Conclusion.IN_THE_MAIN),
        (99.0, True, Conclusion.IN_THE_MAIN),
        (60.0, True, Conclusion.IN_THE_MAIN),
        (59.99, False, Conclusion.DOES_NOT),
    ],
)
def test_2025_concludes_at_its_bounds(percent: float, at_risk: bool, expected: Conclusion) -> None:
    assert conclude(percent, at_risk) is expected


def made_pack(readings: list[Reading] | None = None) -> tuple[bytes, PublicKeys]:
    seen = Seen(SITES, NOW, all_good() if readings is None else readings, attest_all()[:3])
    outcomes = judge(CATALOGUE, seen)
    run = Run(1, "", "stand", seen, outcomes, compute_score(CATALOGUE, outcomes))
    signer = make_signer("idc")
    return render_pack(run, CATALOGUE, signer), {signer.key_id: signer.public}


def test_a_pack_holds_offline_and_says_what_it_says() -> None:
    content, keys = made_pack()
    report = verify_pack(content, keys, CATALOGUE)
    assert report.findings == []
    assert (report.readings, report.attestations, report.outcomes) == (len(all_good()), 3, 257)
    assert "not an assessment" in report.score["label"]


@pytest.mark.parametrize("kind", [b"R ", b"A ", b"V ", b"biyi", b"T "])
def test_any_changed_or_missing_line_of_a_pack_is_found(kind: bytes) -> None:
    content, keys = made_pack()
    lines = content.splitlines(keepends=True)
    spot = next(n for n, line in enumerate(lines) if line.startswith(kind))
    changed = [*lines[:spot], lines[spot].replace(b"a", b"b", 1), *lines[spot + 1 :]]
    if kind != b"biyi":
        assert verify_pack(b"".join(lines[:spot] + lines[spot + 1 :]), keys, CATALOGUE).findings
    if kind != b"biyi" or changed[0].startswith(b"biyi-controls 1"):
        assert verify_pack(b"".join(changed), keys, CATALOGUE).findings
    assert verify_pack(b"".join([*lines[:1], *reversed(lines[1:-1]), lines[-1]]), keys, CATALOGUE).findings


def test_a_pack_by_an_unknown_key_does_not_hold() -> None:
    content, _ = made_pack()
    other = make_signer("idc")
    assert any(
        "no known key" in one
        for one in verify_pack(content, {other.key_id: other.public}, CATALOGUE).findings
    )


def test_a_signed_pack_whose_conclusion_does_not_follow_is_found() -> None:
    """Whoever holds the key cannot sign a better verdict than the evidence gives."""
    seen = Seen(SITES, NOW, all_good()[:-1], [])
    flattering = judge(CATALOGUE, Seen(SITES, NOW, all_good(), attest_all()))
    run = Run(1, "", "stand", seen, flattering, compute_score(CATALOGUE, flattering))
    signer = make_signer("idc")
    findings = verify_pack(
        render_pack(run, CATALOGUE, signer), {signer.key_id: signer.public}, CATALOGUE
    ).findings
    assert any("do not follow from the evidence" in one for one in findings)


def sign(seen: Seen, score_of: Seen | None = None) -> list[str]:
    """Return what is found wrong with a pack of honest verdicts; `score_of`: whose score it claims."""
    outcomes = judge(CATALOGUE, seen)
    claimed = judge(CATALOGUE, score_of) if score_of else outcomes
    signer = make_signer("idc")
    pack = render_pack(
        Run(1, "", "stand", seen, outcomes, compute_score(CATALOGUE, claimed)), CATALOGUE, signer
    )
    return verify_pack(pack, {signer.key_id: signer.public}, CATALOGUE).findings


def test_a_signed_pack_with_an_altered_reading_or_a_better_score_is_found() -> None:
    good = Seen(SITES, NOW, all_good(), attest_all())
    assert sign(good) == []
    altered = [dataclasses.replace(one, facts={**(one.facts or {}), "added": 1}) for one in good.readings[:1]]
    found = sign(Seen(SITES, NOW, [*altered, *good.readings[1:]], attest_all()))
    assert [one for one in found if "does not have the hash it was made with" in one] == found != []
    worse = Seen(SITES, NOW, good.readings, attest_all()[:9])
    assert sign(worse, score_of=good) == ["the scores do not follow from the verdicts"]
