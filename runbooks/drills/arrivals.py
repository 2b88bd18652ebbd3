"""When customers arrive and what for: the same seed gives the same load."""

import enum
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_REGIONS = ("110101", "310104", "330106", "440305", "510107", "610113", "420106", "320102")
_FAMILY = "王李张刘陈杨黄赵吴周徐孙马朱胡林"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚"
_CHECK_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)

OPS_PER_NEW_LOAN = 4
"""A new loan is four operations: customer, application, contract, draw."""


class Wish(enum.StrEnum):
    """What an arriving customer wants."""

    NEW_LOAN = "new_loan"
    REPAY = "repay"
    READ = "read"


_SHARES = {Wish.NEW_LOAN: 0.1, Wish.REPAY: 0.5, Wish.READ: 0.4}
_OPS_PER_ARRIVAL = sum(
    share * (OPS_PER_NEW_LOAN if wish is Wish.NEW_LOAN else 1) for wish, share in _SHARES.items()
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One customer: `at_s` seconds after the start of the load, `pick` in [0, 1) chooses a loan."""

    number: int
    at_s: float
    wish: Wish
    entrance: str
    pick: float
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Person:
    """A made-up customer; no such person exists on purpose, the id number only has the right form."""

    name: str
    id_number: str
    phone: str


def plan_arrivals(seed: int, ops_per_second: float, entrances: Sequence[str]) -> Iterator[Arrival]:
    """Yield Poisson arrivals for ever so that on average `ops_per_second` operations are asked for.

    Entrances take turns, so that each of two gets exactly half; the sequence may grow and shrink meanwhile.
    """
    if ops_per_second <= 0:
        raise ValueError(f"rate {ops_per_second}: needs to be above 0 operations a second")
    draw = random.Random(seed)  # noqa: S311 - reproducible load, nothing secret
    wishes, shares = list(_SHARES), list(_SHARES.values())
    at_s = 0.0
    number = 0
    while True:
        at_s += draw.expovariate(ops_per_second / _OPS_PER_ARRIVAL)
        (wish,) = draw.choices(wishes, shares)
        entrance = entrances[number % len(entrances)]
        yield Arrival(number, at_s, wish, entrance, draw.random(), draw.randint(100, 3000))
        number += 1


def make_person(token: str, number: int) -> Person:
    """Make the `number`-th person of a drill; other tokens give other people."""
    draw = random.Random(f"{token}-{number}")  # noqa: S311 - made-up people, nothing secret
    born = f"{draw.randint(1970, 2000)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
    stem = f"{draw.choice(_REGIONS)}{born}{draw.randint(0, 999):03}"
    name = draw.choice(_FAMILY) + draw.choice(_GIVEN) + draw.choice(_GIVEN)
    return Person(name, stem + compute_check_digit(stem), f"13{draw.randint(0, 999_999_999):09}")


def compute_check_digit(stem: str) -> str:
    """Return the 18th digit of a resident id number (GB 11643: ISO 7064 MOD 11-2) of its first 17."""
    total = sum(weight * int(digit) for weight, digit in zip(_CHECK_WEIGHTS, stem, strict=True))
    return "10X98765432"[total % 11]
