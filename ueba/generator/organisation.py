"""Who works there, on which customers, and how much: drawn once from the seed."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FIRST_DAY = dt.date(2026, 1, 5)
"""A Monday."""
NEVER = 10_000
CUSTOMERS_EACH = 60
BRANCH_STAFF = 25
SEGMENTS = ("wage", "owner", "student", "rural", "private")
STATES = ("active", "closed", "declined", "dormant")
STATE_SHARES = (0.78, 0.10, 0.06, 0.06)
LISTED_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Role:
    """How a role works on an ordinary day; counts are means a day, shares are of looks."""

    name: str
    share: float
    views: float
    searches: float
    exports: float
    rows_median: float
    unassigned: float
    foreign: float
    dwell_median_s: float
    nights: float = 0.0
    saturdays: bool = False


ROLES = (
    Role("clerk", 0.45, 35, 8, 0.10, 120, 0.05, 0.02, 45),
    Role("officer", 0.20, 28, 6, 0.20, 200, 0.04, 0.03, 75),
    Role("collector", 0.20, 95, 3, 0.15, 150, 0.02, 0.05, 18, saturdays=True),
    Role("risk", 0.06, 40, 10, 0.60, 900, 0.30, 0.40, 60, nights=0.05),
    Role("fraud", 0.03, 55, 25, 0.50, 400, 0.80, 0.60, 40, nights=0.10),
    Role("auditor", 0.02, 60, 12, 0.80, 1500, 0.90, 0.70, 55),
    Role("manager", 0.03, 22, 5, 0.30, 300, 0.15, 0.05, 40),
    Role("admin", 0.01, 4, 2, 0.20, 600, 0.50, 0.50, 30, nights=0.10),
)
CLERK, OFFICER, COLLECTOR, RISK, FRAUD, AUDITOR, MANAGER, ADMIN = range(len(ROLES))


@dataclass(frozen=True, slots=True)
class Organisation:
    """Drawn facts: arrays over the staff, over the customers, and over staff x days."""

    staff: int
    days: int
    branches: int
    role: Ints
    """Role by staff and day: role changes are ordinary."""
    branch: Ints
    pace: Floats
    """Own level and its slow drift, by staff and day; 1 is the role's mean."""
    start_hour: Floats
    dwell_shift: Floats
    portfolio: Ints
    """First customer of the own portfolio by staff and day (handovers move it)."""
    portfolio_size: int
    joined: Ints
    notice: Ints
    left: Ints
    dormant: Bools
    replaced: Ints
    """Day on which the own device is replaced."""
    away: Bools
    """Vacation or sick, by staff and day."""
    shifted_h: Floats
    """Shift swaps: hours added to the start, by staff and day."""
    campaign: Bools
    """By branch and day."""
    migrated: Ints
    """Day on which a branch's terminals get new names."""
    segment: Ints
    state: Ints
    listed: Bools
    related: Ints
    """Three customers known in private by staff."""

    @property
    def customers(self) -> int:
        """Return how many customers there are; those of one branch lie together."""
        return len(self.segment)

    @property
    def branch_customers(self) -> int:
        """Return how many customers a branch has."""
        return self.customers // self.branches

    def names(self, index: Ints) -> list[str]:
        """Return the pseudonyms of staff."""
        return [f"e{number:05d}" for number in index]


def make_organisation(staff: int, days: int, rng: np.random.Generator) -> Organisation:
    """Draw an organisation of `staff` people for `days` days."""
    branches = max(4, staff // BRANCH_STAFF)
    branch = np.arange(staff) % branches
    role = rng.choice(len(ROLES), size=staff, p=[one.share for one in ROLES])
    role[: 2 * branches] = np.where(np.arange(2 * branches) < branches, CLERK, MANAGER)
    roles = np.repeat(role[:, None], days, axis=1)
    for person in rng.choice(np.flatnonzero(role == CLERK), size=max(1, staff // 60), replace=False):
        roles[person, rng.integers(days // 3, days) :] = rng.choice([OFFICER, COLLECTOR])
    customers = branches * (staff * CUSTOMERS_EACH // branches)
    size = min(150, customers // branches)
    segment = rng.choice(len(SEGMENTS), size=customers, p=[0.45, 0.2, 0.1, 0.2, 0.05])
    portfolio = _draw_portfolios(branch, branches, customers=customers, size=size, days=days, rng=rng)
    joined = np.where(rng.random(staff) < 0.06, rng.integers(10, max(11, days - 20), staff), -1)
    notice = np.where(rng.random(staff) < 0.05, rng.integers(60, max(61, days), staff), NEVER)
    # Nobody gives notice before having come.
    notice = np.where(notice <= joined + 40, NEVER, notice)
    dormant = np.zeros(staff, dtype=bool)
    dormant[rng.choice(np.flatnonzero(role == CLERK), size=max(4, staff // 50), replace=False)] = True
    joined[dormant], notice[dormant] = -1, NEVER
    return Organisation(
        staff=staff,
        days=days,
        branches=branches,
        role=roles,
        branch=branch,
        pace=_draw_pace(staff, days, rng),
        start_hour=np.where(role == COLLECTOR, 9.5, 8.5) + rng.normal(0, 0.3, staff),
        dwell_shift=rng.normal(0, 0.2, staff),
        portfolio=portfolio,
        portfolio_size=size,
        joined=joined,
        notice=notice,
        left=np.where(notice < NEVER, notice + 30, NEVER),
        dormant=dormant,
        replaced=np.where(rng.random(staff) < 0.1, rng.integers(20, days, staff), NEVER),
        away=_draw_away(staff, days, rng),
        shifted_h=_draw_shifts(staff, days, rng),
        campaign=_draw_campaigns(branches, days, rng),
        migrated=np.where(rng.random(branches) < 0.15, rng.integers(30, max(31, days), branches), NEVER),
        segment=segment,
        state=rng.choice(len(STATES), size=customers, p=STATE_SHARES),
        listed=rng.random(customers) < LISTED_SHARE,
        related=rng.integers(0, customers, size=(staff, 3)),
    )


def _draw_pace(staff: int, days: int, rng: np.random.Generator) -> Floats:
    """Own level (log-sd .25) with a slow walk around it (log-sd .15, correlation .9 from day to day)."""
    walk = np.zeros((staff, days))
    for day in range(1, days):
        walk[:, day] = 0.9 * walk[:, day - 1] + rng.normal(0, 0.15 * np.sqrt(1 - 0.81), staff)
    return np.asarray(np.exp(rng.normal(0, 0.25, staff)[:, None] + walk))


def _draw_portfolios(
    branch: Ints, branches: int, *, customers: int, size: int, days: int, rng: np.random.Generator
) -> Ints:
    each = customers // branches
    first = branch * each + rng.integers(0, each - size + 1, len(branch))
    portfolio = np.repeat(first[:, None], days, axis=1)
    for person in rng.choice(len(branch), size=len(branch) // 12, replace=False):
        when = rng.integers(days // 4, days)
        portfolio[person, when:] = branch[person] * each + rng.integers(0, each - size + 1)
    return portfolio


def _draw_away(staff: int, days: int, rng: np.random.Generator) -> Bools:
    away = rng.random((staff, days)) < 0.015
    for person in range(staff):
        for start in rng.integers(0, days, size=max(1, days // 80)):
            away[person, start : start + 7] = True
    holiday = np.arange(days) % 90
    away[:, (holiday >= 40) & (holiday < 45)] = True
    return np.asarray(away)


def _draw_shifts(staff: int, days: int, rng: np.random.Generator) -> Floats:
    shifted = np.zeros((staff, days))
    for person in rng.choice(staff, size=staff // 5, replace=False):
        start = rng.integers(0, days)
        shifted[person, start : start + 3] = rng.choice([-2.0, 3.0, 4.0])
    return shifted


def _draw_campaigns(branches: int, days: int, rng: np.random.Generator) -> Bools:
    campaign = np.zeros((branches, days), dtype=bool)
    for branch in range(branches):
        start = rng.integers(0, days)
        campaign[branch, start : start + 10] = True
    return campaign


def date_of(day: int) -> dt.date:
    """Return the date of a day of the generator."""
    return FIRST_DAY + dt.timedelta(days=day)
