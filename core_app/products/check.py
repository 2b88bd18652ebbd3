"""Whether a product document may go on sale: its own fields agree, and the law allows it. Pure."""

from collections.abc import Iterator

from core_app.decisions.steps import Step
from core_app.errors import ProductInvalid
from core_app.funding.route import RANKS
from core_app.ledger.dimensions import find_unknown
from core_app.products.model import Product
from core_app.rules.engine import Refusal, judge
from core_app.rules.legal import Rulebook, Stage
from core_app.rules.measure import measure_product

_BUREAU_MODE = {"equal_instalment": "11", "equal_principal": "12", "interest_only": "13", "anytime": "23"}
"""Repay mode of each method. Source: PBOC second-generation code list, research section 3."""


def find_contradictions(product: Product) -> tuple[str, ...]:
    """Return what contradicts what inside the document, each with its path; the law is not asked."""
    return tuple(
        [
            *_contradictions_of_ranges(product),
            *_contradictions_of_terms(product),
            *_contradictions_of_grid(product),
            *_contradictions_of_funding(product),
            *_contradictions_of_reporting(product),
            *_contradictions_of_accounting(product),
            *_contradictions_of_risk(product),
        ]
    )


def judge_product(product: Product, rulebook: Rulebook) -> tuple[Refusal, ...]:
    """Return what the law refuses on the product's first day, or on a later one while it is sold.

    A rule that begins to hold during the product's life counts from its first day: a document that
    would break a known rule later does not go on sale today.
    """
    identity = product.identity
    found: dict[tuple[str, str], Refusal] = {}
    for day in rulebook.days_of_change(identity.valid_from, identity.valid_to):
        for refusal in judge(rulebook, Stage.PUBLICATION, measure_product(product, day), day):
            found.setdefault((refusal.rule, refusal.path), refusal)
    return tuple(found.values())


def check_product(product: Product, rulebook: Rulebook) -> None:
    """Raise ProductInvalid with every contradiction, or else with every refusal of the law."""
    faults = find_contradictions(product) or tuple(map(str, judge_product(product, rulebook)))
    if faults:
        raise ProductInvalid("; ".join(faults))


def _contradictions_of_ranges(product: Product) -> Iterator[str]:
    amount, age, identity = product.amount, product.eligibility, product.identity
    if amount.min_fen > amount.max_fen:
        yield f"amount.min_fen: {amount.min_fen} is above amount.max_fen, {amount.max_fen}"
    if amount.min_fen % amount.step_fen or amount.max_fen % amount.step_fen:
        yield f"amount.step_fen: {amount.step_fen} does not divide amount.min_fen and amount.max_fen"
    if age.min_years > age.max_years:
        yield f"eligibility.min_years: {age.min_years} is above eligibility.max_years, {age.max_years}"
    if identity.valid_to is not None and identity.valid_to < identity.valid_from:
        yield f"identity.valid_to: {identity.valid_to} lies before identity.valid_from"
    if product.limits.customer_fen < amount.max_fen:
        yield f"limits.customer_fen: {product.limits.customer_fen} is below amount.max_fen, {amount.max_fen}"


def _contradictions_of_terms(product: Product) -> Iterator[str]:
    tenor, schedule, fees = product.tenor, product.schedule, product.pricing.fees
    if (tenor.first_due == "bill_day") != (tenor.bill_day is not None):
        yield f"tenor.bill_day: {tenor.bill_day}, needed with first_due: bill_day and only then"
    if tenor.first_due == "bill_day" and schedule.interest_by != "day":
        yield "schedule.interest_by: month, a bill day makes a first period of odd length: needs day"
    if schedule.method == "anytime" and schedule.interest_by != "day":
        yield "schedule.interest_by: month, a loan repaid anytime needs day"
    if schedule.method == "anytime" and (fees.upfront_share or fees.monthly_share):
        yield "pricing.fees: needs none for a loan repaid anytime, its cost would depend on its use"
    for share, payee, name in (
        (fees.upfront_share, fees.upfront_payee, "upfront_payee"),
        (fees.monthly_share, fees.monthly_payee, "monthly_payee"),
    ):
        if bool(share) != (payee is not None):
            yield f"pricing.fees.{name}: {payee}, needed where there is a share and only there"
    unknown = set(product.prepayment.modes) - {"full", "keep_term", "keep_instalment"}
    if unknown:
        yield f"prepayment.modes: {', '.join(sorted(unknown))}, needs full, keep_term or keep_instalment"
    if schedule.method == "interest_only" and "keep_instalment" in product.prepayment.modes:
        yield "prepayment.modes: keep_instalment, an interest-only loan has no instalment to keep"
    reward = product.pricing.reward
    if reward is not None and not 1 <= reward.after_periods < tenor.periods[-1]:
        yield f"pricing.reward.after_periods: {reward.after_periods}, needs 1 to {tenor.periods[-1] - 1}"


def _contradictions_of_grid(product: Product) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for number, cell in enumerate(product.pricing.grid):
        path = f"pricing.grid.{number}"
        if cell.periods not in product.tenor.periods:
            yield f"{path}.periods: {cell.periods}, which tenor.periods does not have"
        if (cell.segment, cell.periods) in seen:
            yield f"{path}: {cell.segment} over {cell.periods} periods stands twice"
        seen.add((cell.segment, cell.periods))


def _contradictions_of_funding(product: Product) -> Iterator[str]:
    parties = product.funding.parties
    total = sum(party.share for party in parties)
    if total != 1:
        yield f"funding.parties: shares sum to {total}, need 1"
    if any(party.share == 0 for party in parties):
        yield "funding.parties: a share of 0, a party needs one above it"
    leads = sum(party.lead for party in parties)
    if leads != 1:
        yield f"funding.parties: {leads} leads, needs one"
    if len({party.funder for party in parties}) != len(parties):
        yield "funding.parties: a funder stands twice"
    unknown = set(product.funding.rank_by) - RANKS
    if unknown:
        yield f"funding.rank_by: {', '.join(sorted(unknown))}, needs of {', '.join(sorted(RANKS))}"


def _contradictions_of_reporting(product: Product) -> Iterator[str]:
    report, method = product.reporting, product.schedule.method
    mode, account = report.bureau_repay_mode, report.bureau_account_type
    wanted = "90" if report.merge_bills else _BUREAU_MODE[method]
    if mode != wanted:
        why = "merged bills" if report.merge_bills else method
        yield f"reporting.bureau_repay_mode: {mode}, {why} need {wanted}"
    if account == "R1" and mode.startswith("1"):
        yield f"reporting.bureau_repay_mode: {mode}, account type R1 excludes 11 to 29"
    frequency = "99" if mode.startswith("2") else "03"
    if report.bureau_frequency != frequency:
        yield f"reporting.bureau_frequency: {report.bureau_frequency}, repay mode {mode} needs {frequency}"


def _contradictions_of_accounting(product: Product) -> Iterator[str]:
    if unknown := find_unknown(product):
        yield f"accounting.dimensions: {', '.join(unknown)}, which lines of the ledger do not have"


def _contradictions_of_risk(product: Product) -> Iterator[str]:
    steps = product.risk.steps
    if unknown := set(steps) - set(Step):
        yield f"risk.steps: {', '.join(sorted(unknown))}, needs of {', '.join(Step)}"
    if Step.PRE_SCREEN in steps[1:]:
        yield "risk.steps: pre_screen, which says who is let in at all, needs to be the first"
