"""All-in annual cost of a loan by internal rate of return, simple and compound. Pure.

The law's line (24 %) is compared with this figure, fees included, not with the stated rate. Which
of the two units the line means is not settled, so both are computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

_DIGITS = 40
_HALVINGS = 120


@dataclass(frozen=True, slots=True)
class AnnualCost:
    """Yearly cost as a share (0.18 is 18 %): `simple` is 12 x monthly, `compound` is effective."""

    simple: Decimal
    compound: Decimal


def compute_annual_cost(paid_out_fen: int, payments_fen: Sequence[int]) -> AnnualCost:
    """Return the cost of `paid_out_fen` against monthly payments; ValueError when it cannot be positive."""
    if paid_out_fen <= 0 or sum(payments_fen) < paid_out_fen or any(p < 0 for p in payments_fen):
        raise ValueError("annual cost: needs a positive pay-out and payments that cover it")
    with localcontext() as context:
        context.prec = _DIGITS
        low, high = Decimal(0), Decimal(1)
        while _present_value(payments_fen, high) > paid_out_fen:
            high *= 2
        # Bisection: the present value falls strictly with the rate, so it cannot miss.
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if _present_value(payments_fen, middle) > paid_out_fen:
                low = middle
            else:
                high = middle
        return AnnualCost(simple=high * 12, compound=(1 + high) ** 12 - 1)


def _present_value(payments_fen: Sequence[int], monthly: Decimal) -> Decimal:
    value = Decimal(0)
    for payment_fen in reversed(payments_fen):
        value = (value + payment_fen) / (1 + monthly)
    return value
