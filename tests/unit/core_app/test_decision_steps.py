"""The steps: budgets fail closed, windows and night, gangs, tiers with memory, fallbacks of the bureau."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.decisions.evidence import EvidenceKind, index_evidence, normalise_evidence
from core_app.decisions.risk import make_risk, read_risk
from core_app.decisions.scorecard import Term, compute_score
from core_app.decisions.scoring import Brought, PartnerScore, find_inputs, score_applicant
from core_app.decisions.steps import (
    FraudFacts,
    Judged,
    Membership,
    Outcome,
    ScoreFacts,
    close_step,
    is_night,
    judge_fraud,
    judge_identity,
    judge_pre_screen,
    judge_score,
)
from core_app.decisions.tiers import decide_tier, plain_tier
from core_app.errors import Refused
from core_app.products.catalogue import read_catalogue

POLICY = read_risk().policy
PRODUCT = read_catalogue().find_on_sale("instalment-12", dt.date(2026, 1, 15))
assert PRODUCT is not None
DEVICE = EvidenceKind.DEVICE


def with_risk(**changes: Any) -> Any:
    return PRODUCT.model_copy(update={"risk": PRODUCT.risk.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("elapsed_us", "outcome"), [(150_000, Outcome.PASSED), (150_001, Outcome.OVER_BUDGET)]
)
def test_a_step_over_its_budget_has_failed_whatever_it_found(elapsed_us: int, outcome: Outcome) -> None:
    result = close_step("fraud", Judged((), {"a": 1}), elapsed_us, PRODUCT)
    assert (result.outcome, dict(result.facts)) == (outcome, {"a": 1})
    assert bool(result.reasons) == (outcome is Outcome.OVER_BUDGET)


@pytest.mark.parametrize(
    ("listed", "rules"),
    [(("instalment-12",), []), ((), ["pre_screen"]), (("instalment-6", "scene-renovation"), ["pre_screen"])],
)
def test_the_first_gate_asks_for_the_products_own_list(listed: tuple[str, ...], rules: list[str]) -> None:
    judged = judge_pre_screen(PRODUCT, listed)
    assert [reason.rule for reason in judged.reasons] == rules
    assert judged.facts == {"listed": not rules}


@pytest.mark.parametrize(
    ("age", "since", "rules"),
    [(18, None, []), (17, None, ["age"]), (61, 3, ["age", "cool_off"]), (30, 30, []), (30, 29, ["cool_off"])],
)
def test_identity_asks_age_and_cool_off(age: int, since: int | None, rules: list[str]) -> None:
    product = PRODUCT.model_copy(
        update={"eligibility": PRODUCT.eligibility.model_copy(update={"cool_off_days": 30})}
    )
    assert [reason.rule for reason in judge_identity(product, age, since).reasons] == rules


@pytest.mark.parametrize(
    ("first", "last", "nights"),
    [(1, 5, {1, 2, 3, 4}), (22, 2, {22, 23, 0, 1}), (0, 24, set(range(24))), (3, 3, set())],
)
def test_night_hours_may_pass_midnight(first: int, last: int, nights: set[int]) -> None:
    product = with_risk(night_from_hour=first, night_until_hour=last)
    assert {hour for hour in range(24) if is_night(product, hour)} == nights


@pytest.mark.parametrize(
    ("here", "elsewhere", "hour", "rules"),
    [
        (2, 0, 12, []),
        (3, 0, 12, ["window.device"]),
        (2, 1, 12, ["window.device"]),
        (0, 0, 3, []),
        (1, 0, 3, ["night.device"]),
    ],
)
def test_the_application_itself_counts_in_its_windows_and_nights_are_tighter(
    here: int, elsewhere: int, hour: int, rules: list[str]
) -> None:
    facts = FraudFacts({DEVICE: here}, {DEVICE: elsewhere}, hour, None)
    judged = judge_fraud(PRODUCT, POLICY, facts)
    assert [reason.rule for reason in judged.reasons] == rules
    assert judged.facts["windows"] == {"device": here + elsewhere + 1}


@pytest.mark.parametrize(("what", "rules"), [("refuse", ["window.unknown"]), ("pass", [])])
def test_a_cell_that_cannot_be_asked_is_what_the_policy_says(what: str, rules: list[str]) -> None:
    policy = POLICY.model_copy(update={"windows_unknown": what})
    judged = judge_fraud(PRODUCT, policy, FraudFacts({DEVICE: 0}, None, 12, None))
    assert [reason.rule for reason in judged.reasons] == rules
    assert judge_fraud(PRODUCT, policy, FraudFacts({}, None, None, None)).reasons == ()


@pytest.mark.parametrize(
    ("customers", "density", "refused"),
    [(4, "1", False), (5, "0.4", True), (5, "0.39999999", False), (50, "0.41", True)],
)
def test_a_gang_needs_size_and_density(customers: int, density: str, refused: bool) -> None:
    facts = FraudFacts({}, {}, None, Membership("g", customers, density))
    assert bool(judge_fraud(PRODUCT, POLICY, facts).reasons) == refused


scores = st.integers(300, 900)


@given(scores, st.sampled_from(["A", "B", "C", None, "Z"]), st.integers(0, 60))
def test_a_tier_is_left_only_beyond_the_band(score: int, earlier: str | None, band: int) -> None:
    tier = decide_tier(POLICY, score, earlier, band)
    if earlier in {None, "Z"}:
        assert tier == plain_tier(POLICY, score)
    elif tier != earlier:
        near = {plain_tier(POLICY, score - band), plain_tier(POLICY, min(score + band, 900))}
        assert earlier not in near or score >= POLICY.tiers[POLICY.place_of(tier)].from_score + band


@given(st.lists(scores, max_size=20))
def test_scores_within_the_band_never_flip_a_tier(noise: list[int]) -> None:
    tier = decide_tier(POLICY, 640, None, 15)
    for one in noise:
        tier = decide_tier(POLICY, 640 + one % 15, tier, 15)
        assert tier == "A"
        tier = decide_tier(POLICY, 640 - one % 16, tier, 15)
        assert tier == "A"


@pytest.mark.parametrize(
    ("points", "no_answer", "tier", "rules"),
    [
        (700, None, "A", []),
        (700, "timeout", "C", []),
        (560, "timeout", "C", []),
        (700, "unreadable", None, ["bureau.unreadable"]),
        (549, None, None, ["score.floor"]),
        (550, None, "C", []),
    ],
)
def test_without_an_answer_the_policy_refuses_or_tightens_and_says_so(
    points: int, no_answer: str | None, tier: str | None, rules: list[str]
) -> None:
    graded = judge_score(PRODUCT, POLICY, ScoreFacts(points, None, no_answer, (), {}))
    assert graded.tier == tier
    assert [reason.rule for reason in graded.judged.reasons] == rules
    if no_answer is not None:
        assert graded.judged.facts["fallback"]["why"] == no_answer


def test_a_partners_score_is_weighed_by_the_cards_that_name_it_and_may_be_missing() -> None:
    shipped, day = read_risk(), dt.date(2026, 1, 15)
    term = Term(
        input="partner.score", least=0, most=1000, mean=600, scale=100, weight=-0.5, missing_weight=0.2
    )
    cards = [model.card for model in shipped.versions]
    main = next(card for card in cards if card.id == "credit-main")
    newer = main.model_copy(update={"version": 2, "terms": (*main.terms, term)})
    risk = make_risk(shipped.policy, shipped.registry, [*cards, newer], shipped.sources)
    variables = dict.fromkeys(risk.variables)

    def odds(score: int | None, models: Any) -> float:
        partner = None if score is None else PartnerScore("partner_bank", "base-3", score)
        inputs = find_inputs(PRODUCT, Brought(1_000_000, 12, partner), variables, None)
        return score_applicant(models, inputs).main.log_odds

    weighed, not_weighed = risk.models_on(day), shipped.models_on(day)
    plain = odds(None, not_weighed)
    assert odds(700, not_weighed) == plain, "a card that does not name it does not see it"
    found = [odds(score, weighed) - plain for score in (700, 500, None)]
    assert found == pytest.approx([-0.5, 0.5, 0.2])


def test_the_challenger_is_stored_and_changes_nothing() -> None:
    models = read_risk().models_on(dt.date(2026, 1, 15))
    variables = dict.fromkeys(read_risk().variables)
    inputs = find_inputs(PRODUCT, Brought(1_000_000, 12), variables, None)
    scored = score_applicant(models, inputs)
    assert models.challenger is not None
    assert scored.shown["challenger"]["points"] == compute_score(models.challenger.card, inputs).points
    card = models.challenger.card.model_copy(update={"intercept": 50.0})
    other = type(models)(models.subs, models.main, type(models.main)(card, b"\0" * 32))
    again = score_applicant(other, inputs)
    assert again.main == scored.main
    assert again.shown["challenger"]["points"] == 300


@pytest.mark.parametrize(
    ("pair", "decides"),
    [
        (None, "credit-main"),
        (("credit-challenger", "credit-main"), "credit-challenger"),
        (("credit-main", "credit-challenger"), "credit-main"),
        (("credit-challenger", "credit-older"), "credit-main"),
        (("credit-older", "credit-main"), "credit-main"),
    ],
)
def test_a_strategy_counts_for_the_pair_of_the_policy_only(pair: Any, decides: str) -> None:
    models = read_risk().models_on(dt.date(2026, 1, 15), pair)
    assert models.challenger is not None
    assert models.main.card.id == decides
    assert {models.main.card.id, models.challenger.card.id} == {"credit-main", "credit-challenger"}


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("device", "a1b2-c3d4-e5", "A1B2-C3D4-E5"),
        ("wifi", "aa:bb:cc:dd:ee:ff", "AABB.CCDD.EEFF"),
        ("ip", "::ffff:10.0.0.1", "10.0.0.1"),
        ("ip", "2001:db8::1", "2001:db8:0:0:ffff::2"),
        ("address", "上海市 浦东 1 号", "上海市浦东1号"),
    ],
)
def test_evidence_has_one_spelling(kind: str, one: str, other: str) -> None:
    first = normalise_evidence(EvidenceKind(kind), one)
    assert first is not None
    assert first == normalise_evidence(EvidenceKind(kind), other)


@pytest.mark.parametrize(
    ("kind", "text"), [("device", "abc"), ("wifi", "home network"), ("ip", "10.0.0.256"), ("address", "q7")]
)
def test_a_bad_piece_of_evidence_is_named_and_not_quoted(kind: str, text: str) -> None:
    with pytest.raises(Refused) as refused:
        index_evidence(lambda column, plain: b"", {kind: text})
    (problem,) = refused.value.errors
    assert problem.path == f"body.evidence.{kind}"
    assert text not in problem.found + problem.needed
