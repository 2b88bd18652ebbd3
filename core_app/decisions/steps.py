"""The ordered steps of a decision: a list of who is let in, identity, fraud, score. Pure.

Each step is judged from facts gathered before, within its budget. A step that took longer than the
product allows has failed, whatever it found (fail-closed); steps after a failed one are skipped.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core_app.customers.evidence import Held, find_gaps
from core_app.decisions.evidence import EvidenceKind
from core_app.decisions.policy import Gang, Policy
from core_app.decisions.rules import Reason
from core_app.decisions.tiers import decide_tier, worse_tier
from core_app.products.model import Product


class Step(enum.StrEnum):
    """The steps there are; their order stands in the product (`risk.steps`)."""

    PRE_SCREEN = "pre_screen"
    IDENTITY = "identity"
    FRAUD = "fraud"
    SCORE = "score"


class Outcome(enum.StrEnum):
    """How a step ended."""

    PASSED = "passed"
    REFUSED = "refused"
    OVER_BUDGET = "over_budget"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step as it is stored and shown; `facts` are what it rested on, without personal data."""

    step: str
    outcome: Outcome
    elapsed_us: int
    budget_ms: int
    reasons: tuple[Reason, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Return the step as a client reads it."""
        return {
            "step": self.step,
            "outcome": str(self.outcome),
            "elapsed_us": self.elapsed_us,
            "budget_ms": self.budget_ms,
            "reasons": [reason.as_plain() for reason in self.reasons],
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """What a step finds: reasons to refuse, none when it passes, and its facts."""

    reasons: tuple[Reason, ...]
    facts: Mapping[str, Any]


def close_step(step: str, judged: Judged, elapsed_us: int, product: Product) -> StepResult:
    """Return the step's result under the product's budget."""
    budget_ms = product.risk.step_budget_ms
    if elapsed_us > 1000 * budget_ms:
        late = Reason(f"step.{step}.over_budget", f"{elapsed_us} us", f"<= {budget_ms} ms")
        return StepResult(step, Outcome.OVER_BUDGET, elapsed_us, budget_ms, (late,), judged.facts)
    outcome = Outcome.REFUSED if judged.reasons else Outcome.PASSED
    return StepResult(step, outcome, elapsed_us, budget_ms, judged.reasons, judged.facts)


def skip_step(step: str, product: Product) -> StepResult:
    """Return the result of a step that an earlier one made needless."""
    return StepResult(step, Outcome.SKIPPED, 0, product.risk.step_budget_ms)


def judge_pre_screen(product: Product, listed: Collection[str]) -> Judged:
    """Judge whether the product's list has the customer; `listed` are the products whose lists do today."""
    found = product.id in listed
    reasons = () if found else (Reason("pre_screen", "not on the list", f"on the list of {product.id}"),)
    return Judged(reasons, {"listed": found})


def judge_identity(
    product: Product, age_years: int, days_since_refusal: int | None, held: Mapping[str, Held] | None = None
) -> Judged:
    """Judge age, cool-off and evidence; `days_since_refusal` is None without an earlier refusal.

    `held` is the evidence of identity by check, None where none is asked for.
    """
    rule = product.eligibility
    reasons: list[Reason] = []
    if not rule.min_years <= age_years <= rule.max_years:
        reasons.append(Reason("age", age_years, f"{rule.min_years} to {rule.max_years}"))
    if days_since_refusal is not None and days_since_refusal < rule.cool_off_days:
        reasons.append(Reason("cool_off", f"{days_since_refusal} days", f">= {rule.cool_off_days} days"))
    facts: dict[str, Any] = {"days_since_refusal": days_since_refusal}
    if held is not None:
        gaps = find_gaps(product, held)
        reasons += [Reason(f"identity.{gap.check}", gap.found, "passed, within a year") for gap in gaps]
        facts["evidence"] = {check: [one.vendor, one.reference] for check, one in sorted(held.items())}
    return Judged(tuple(reasons), facts)


@dataclass(frozen=True, slots=True)
class Membership:
    """A customer's place in what hangs together: how many customers, how densely (share of all pairs)."""

    gang: str
    customers: int
    density: str


@dataclass(frozen=True, slots=True)
class FraudFacts:
    """What the fraud step looks at: earlier applications a value in the window, the hour, the membership.

    `elsewhere` is None when another cell's counts could not be had.
    """

    here: Mapping[EvidenceKind, int]
    elsewhere: Mapping[EvidenceKind, int] | None
    hour: int | None
    membership: Membership | None


def is_night(product: Product, hour: int) -> bool:
    """Say whether the product's night hours hold at `hour`; they may pass midnight; equal ends: never."""
    first, last = product.risk.night_from_hour, product.risk.night_until_hour
    return first <= hour < last if first <= last else hour >= first or hour < last


def judge_fraud(product: Product, policy: Policy, facts: FraudFacts) -> Judged:
    """Judge windows, the night rule and gangs; this application counts in its own windows."""
    reasons: list[Reason] = []
    night = facts.hour is not None and is_night(product, facts.hour)
    most = product.risk.window_applications
    allowed = min(most, policy.night_applications) if night else most
    rule = "night" if night else "window"
    counts = {}
    for kind, count in facts.here.items():
        counts[str(kind)] = count + 1 + (facts.elsewhere or {}).get(kind, 0)
        if counts[str(kind)] > allowed:
            reasons.append(
                Reason(
                    f"{rule}.{kind}", counts[str(kind)], f"<= {allowed} in {product.risk.window_minutes} min"
                )
            )
    if facts.here and facts.elsewhere is None and policy.windows_unknown == "refuse":
        reasons.append(Reason("window.unknown", "a cell that cannot be asked", "every cell's counts"))
    reasons.extend(_judge_membership(policy.gang, facts.membership))
    shown: dict[str, Any] = {"windows": counts, "night": night, "policy": policy.version}
    shown["every_cell"] = facts.elsewhere is not None
    if facts.membership is not None:
        shown["gang"] = {
            "gang": facts.membership.gang,
            "customers": facts.membership.customers,
            "density": facts.membership.density,
        }
    return Judged(tuple(reasons), shown)


def _judge_membership(rule: Gang, membership: Membership | None) -> Sequence[Reason]:
    if membership is None or membership.customers < rule.min_customers:
        return ()
    if not float(membership.density) >= float(rule.min_density):
        return ()
    return (Reason("gang", membership.customers, f"< {rule.min_customers} customers hanging together"),)


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """What the score step looks at: points, the tier before, why there is no bureau answer if so."""

    points: int
    earlier_tier: str | None
    no_answer: str | None
    worst: tuple[str, ...]
    shown: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Graded:
    """The score step's finding and the tier it leaves, None when the score is below the floor."""

    judged: Judged
    tier: str | None


def judge_score(product: Product, policy: Policy, facts: ScoreFacts) -> Graded:
    """Judge the score by the product's floor, grade it with hysteresis, and tighten it without an answer.

    The tier kept for next time is that of the score alone: a day without the bureau is no change of grade.
    """
    risk = product.risk
    reasons: list[Reason] = []
    tier = decide_tier(policy, facts.points, facts.earlier_tier, risk.score_hysteresis)
    shown = {**facts.shown, "graded": tier, "earlier_tier": facts.earlier_tier, "policy": policy.version}
    if facts.points < risk.score_floor:
        because = f" ({', '.join(facts.worst)})" if facts.worst else ""
        reasons.append(Reason("score.floor", facts.points, f">= {risk.score_floor}{because}"))
    allowed = tier
    if facts.no_answer is not None:
        fallback = str(getattr(policy.bureau.without_answer, facts.no_answer))
        shown["fallback"] = {"why": facts.no_answer, "then": fallback}
        if fallback == "refuse":
            reasons.append(Reason(f"bureau.{facts.no_answer}", "no answer", "an answer of the bureau"))
        else:
            allowed = worse_tier(policy, tier, fallback)
    shown["tier"] = allowed
    return Graded(Judged(tuple(reasons), shown), None if reasons else allowed)
