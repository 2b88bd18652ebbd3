"""Money: integer fen (分, 1/100 yuan), one currency, one rounding. Pure.

Rates and quotients are exact (`Fraction` or `Decimal`) until `round_half_up` turns them into fen.
"""

from decimal import Decimal
from fractions import Fraction

CURRENCY = "CNY"
MAX_FEN = 2**53 - 1
"""Largest amount taken from outside: what every JSON reader holds exactly."""


def round_half_up(exact_fen: Fraction | Decimal | int) -> int:
    """Return whole fen; a half goes away from zero. The only rounding of money in this product.

    >>> round_half_up(Fraction(5, 2)), round_half_up(Decimal("-2.5")), round_half_up(Fraction(7, 3))
    (3, -3, 2)
    """
    exact = Fraction(exact_fen)
    doubled = abs(exact.numerator) * 2 + exact.denominator
    whole = doubled // (2 * exact.denominator)
    return whole if exact >= 0 else -whole
