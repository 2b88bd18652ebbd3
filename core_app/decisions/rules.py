"""The rules an application passes, in order. Pure: one snapshot in, one decision out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the product and the law allow; ages in completed years, amounts in fen."""

    min_age_years: int
    max_age_years: int
    product_max_fen: int
    product_limit_fen: int
    legal_line_fen: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The applicant as the rules see them: outstanding plus contracted, in all and in this product."""

    age_years: int
    exposure_fen: int
    product_exposure_fen: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an application is refused: the rule's id, the value it looked at, the limit it has."""

    rule: str
    value: int
    limit: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome; `limit_fen` is the largest single loan the applicant could have now."""

    approved: bool
    reasons: tuple[Reason, ...]
    limit_fen: int


def find_limit_breaches(standing: Standing, limits: Limits, amount_fen: int) -> tuple[Reason, ...]:
    """Return the limits that `amount_fen` on top of the exposure would break; also asked at the contract."""
    reasons = []
    in_product = standing.product_exposure_fen + amount_fen
    if in_product > limits.product_limit_fen:
        reasons.append(Reason("product.limit_per_customer", in_product, f"<= {limits.product_limit_fen}"))
    in_all = standing.exposure_fen + amount_fen
    if in_all > limits.legal_line_fen:
        reasons.append(Reason("cfc.line", in_all, f"<= {limits.legal_line_fen}"))
    return tuple(reasons)


def decide_application(standing: Standing, limits: Limits, amount_fen: int) -> Decision:
    """Decide by age first, then by limits; every rule that fails gives its reason."""
    reasons: list[Reason] = []
    old_enough = limits.min_age_years <= standing.age_years <= limits.max_age_years
    if not old_enough:
        allowed = f"{limits.min_age_years} to {limits.max_age_years}"
        reasons.append(Reason("age", standing.age_years, allowed))
    reasons.extend(find_limit_breaches(standing, limits, amount_fen))
    room_fen = min(
        limits.product_max_fen,
        limits.product_limit_fen - standing.product_exposure_fen,
        limits.legal_line_fen - standing.exposure_fen,
    )
    return Decision(not reasons, tuple(reasons), max(0, room_fen) if old_enough else 0)
