"""A joint loan's instalments split to its funders, to the fen. Pure.

Each funder but the lead gets the rounded share of the running total less what it has had, so that
rounding never collects; the lead takes the rest. Funders are split off one after the other from what
is left, which keeps every part of every instalment at zero or more however many funders there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise

from core_app.loans.schedule import Instalment
from core_app.money import round_half_up


@dataclass(frozen=True, slots=True)
class Funder:
    """Who funds and which share (0.30 is 30 %) of every instalment."""

    name: str
    share: Decimal


@dataclass(frozen=True, slots=True)
class Parts:
    """One funder's part of each instalment of a plan, in fen."""

    funder: str
    principal_fen: tuple[int, ...]
    interest_fen: tuple[int, ...]


def split_amounts(amounts_fen: Sequence[int], shares: Sequence[Decimal]) -> tuple[tuple[int, ...], ...]:
    """Return each share's part of each amount; the last share is the lead's and takes the rest.

    ValueError unless shares are positive and sum to one, and amounts are zero or more.

    >>> split_amounts([18_000, 16_620], [Decimal("0.3"), Decimal("0.7")])
    ((5400, 4986), (12600, 11634))
    """
    if sum(shares) != 1 or any(share <= 0 for share in shares) or any(fen < 0 for fen in amounts_fen):
        raise ValueError("split: needs positive shares that sum to 1, and amounts of 0 fen or more")
    left_fen, left_share = tuple(amounts_fen), Fraction(1)
    parts = []
    for share in shares[:-1]:
        of_rest = Fraction(share) / left_share
        running = [0, *(round_half_up(total * of_rest) for total in accumulate(left_fen))]
        part = tuple(after - before for before, after in pairwise(running))
        parts.append(part)
        left_fen = tuple(whole - taken for whole, taken in zip(left_fen, part, strict=True))
        left_share -= Fraction(share)
    return (*parts, left_fen)


def split_plan(plan: Sequence[Instalment], funders: Sequence[Funder]) -> tuple[Parts, ...]:
    """Return every funder's part of each instalment, in the order given; the last one is the lead."""
    shares = [funder.share for funder in funders]
    principals = split_amounts([instalment.principal_fen for instalment in plan], shares)
    interests = split_amounts([instalment.interest_fen for instalment in plan], shares)
    return tuple(
        Parts(funder.name, principal, interest)
        for funder, principal, interest in zip(funders, principals, interests, strict=True)
    )
