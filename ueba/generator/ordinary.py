"""An ordinary day: everybody's work, with month-ends, campaigns, night duty, hot desks and audits in it."""

import calendar
from dataclasses import dataclass, fields

import numpy as np

from ueba.generator.organisation import (
    CLERK,
    MANAGER,
    ROLES,
    STATES,
    Bools,
    Floats,
    Ints,
    Organisation,
    date_of,
)

ACTIONS = ("view", "search", "list", "export", "unmask", "approve", "pay", "login")
VIEW, SEARCH, LIST, EXPORT, UNMASK, APPROVE, PAY, LOGIN = range(len(ACTIONS))
PURPOSES = ("loan_service", "customer_request", "application_review", "collection", "fraud_investigation",
            "internal_audit")  # fmt: skip
PURPOSE_OF_ROLE = np.array([0, 2, 3, 0, 4, 5, 0, 0])
DORMANT = STATES.index("dormant")
HOUR_S = 3600
DAY_S = 24 * HOUR_S
UNKNOWN = -1


@dataclass(slots=True)
class Batch:
    """Events of one day as columns; -1 stands for nothing. `at_s` counts from local midnight."""

    staff: Ints
    at_s: Ints
    action: Ints
    customer: Ints
    terminal: Ints
    assigned: Ints
    rows: Ints
    dwell_ms: Ints
    failed: Ints
    case: Ints
    purpose: Ints
    fields_shown: Ints
    label: Ints
    """Number of the injected case, or -1."""

    def __len__(self) -> int:
        return len(self.staff)


def join(batches: list[Batch]) -> Batch:
    """Return all events of the batches, in time order."""
    columns = {
        one.name: np.concatenate([getattr(batch, one.name) for batch in batches]) for one in fields(Batch)
    }
    order = np.argsort(columns["at_s"], kind="stable")
    return Batch(**{name: column[order] for name, column in columns.items()})


def make_batch(staff: Ints, at_s: Ints, action: int, **columns: Ints | int) -> Batch:
    """Return events of one action; what is not given is nothing."""
    size = len(staff)
    made = {
        "customer": UNKNOWN, "terminal": UNKNOWN, "assigned": UNKNOWN, "rows": 0, "dwell_ms": UNKNOWN,
        "failed": 0, "case": 0, "purpose": UNKNOWN, "fields_shown": 0, "label": UNKNOWN,
    } | columns  # fmt: skip
    full = {name: np.broadcast_to(np.asarray(value, dtype=np.int64), size) for name, value in made.items()}
    whole = {name: np.array(value) for name, value in full.items()}
    return Batch(
        staff=np.asarray(staff, dtype=np.int64),
        at_s=np.clip(np.asarray(at_s, dtype=np.int64), 0, DAY_S - 1),
        action=np.full(size, action, dtype=np.int64),
        **whole,
    )


def is_working(org: Organisation, day: int) -> Bools:
    """Return who comes in on a day."""
    weekday = date_of(day).weekday()
    saturdays = np.array([one.saturdays for one in ROLES])[org.role[:, day]]
    comes = np.full(org.staff, weekday < 5) | (saturdays & (weekday == 5))
    here = (org.joined <= day) & (day < org.left) & ~org.dormant
    return np.asarray(comes & here & ~org.away[:, day])


def _level(org: Organisation, day: int) -> tuple[Floats, float]:
    """Return the factor on everybody's looks, and the one on exports."""
    date = date_of(day)
    to_end = calendar.monthrange(date.year, date.month)[1] - date.day
    end, quarter = to_end < 3, to_end < 3 and date.month % 3 == 0
    factor = org.pace[:, day] * (1.3 if end else 1.0) * (1.15 if quarter else 1.0)
    busy = org.campaign[org.branch, day] & (org.role[:, day] <= 1)
    new = np.clip((day - org.joined) / 15.0, 0.3, 1.0)
    return factor * np.where(busy, 1.5, 1.0) * new, (2.5 if quarter else 1.6 if end else 1.0)


def work_times(org: Organisation, day: int, who: Ints, rng: np.random.Generator) -> Ints:
    """Return seconds of the day within the people's hours, lunch left out."""
    hours = rng.random(len(who)) * 8.0
    hours += np.where(hours > 3.5, 1.0, 0.0)
    return np.asarray(
        (org.start_hour[who] + org.shifted_h[who, day] + hours) * HOUR_S + rng.integers(0, 60, len(who)),
        dtype=np.int64,
    )


def terminals(org: Organisation, day: int) -> Ints:
    """Return everybody's own terminal on a day: replaced and migrated ones have new numbers."""
    number = np.arange(org.staff) + np.where(day >= org.replaced, 100_000, 0)
    return np.asarray(number + np.where(day >= org.migrated[org.branch], 200_000, 0))


def dwell(org: Organisation, day: int, who: Ints, rng: np.random.Generator) -> Ints:
    """Return milliseconds: lognormal (log-sd .8) with a personal shift and a daily one (log-sd .08)."""
    median = np.array([one.dwell_median_s for one in ROLES])[org.role[who, day]]
    daily = rng.normal(0, 0.08, org.staff)[who]
    drawn = np.exp(np.log(median * 1000) + org.dwell_shift[who] + daily + rng.normal(0, 0.8, len(who)))
    return np.asarray(np.clip(drawn, 200, 3_600_000), dtype=np.int64)


def pick_outside(org: Organisation, who: Ints, foreign: Bools, rng: np.random.Generator) -> Ints:
    """Return customers outside the portfolio: of the own branch, or of any where `foreign`."""
    each = org.branch_customers
    own = org.branch[who] * each + rng.integers(0, each, len(who))
    return np.where(foreign, rng.integers(0, org.customers, len(who)), own)


def _make_looks(
    org: Organisation, day: int, working: Ints, factor: Floats, rng: np.random.Generator
) -> Batch:
    role = org.role[working, day]
    means = np.array([one.views for one in ROLES])[role] * factor[working]
    counts = rng.poisson(rng.gamma(12.0, means / 12.0))
    who = np.repeat(working, counts)
    which = org.role[who, day]
    outside = rng.random(len(who)) < np.array([one.unassigned for one in ROLES])[which]
    foreign = rng.random(len(who)) < np.array([one.foreign for one in ROLES])[which]
    inside = org.portfolio[who, day] + (rng.random(len(who)) ** 1.5 * org.portfolio_size).astype(np.int64)
    customer = np.where(outside, pick_outside(org, who, foreign, rng), inside)
    case = rng.random(len(who)) < np.where(outside, np.where(which >= 3, 0.95, 0.7), 0.6)
    # A caller's record is often opened again at once: one in ten looks repeats the one before.
    again = (rng.random(len(who)) < 0.1) & (np.roll(who, 1) == who)
    again[:1] = False
    before = np.flatnonzero(again) - 1
    customer[again], outside[again], case[again] = customer[before], outside[before], case[before]
    made = make_batch(
        who,
        work_times(org, day, who, rng),
        VIEW,
        customer=customer,
        assigned=1 - outside.astype(np.int64),
        dwell_ms=dwell(org, day, who, rng),
        case=case.astype(np.int64),
        purpose=np.where(rng.random(len(who)) < 0.1, rng.integers(0, 3, len(who)), PURPOSE_OF_ROLE[which]),
        fields_shown=rng.integers(2, 8, len(who)),
    )
    made.action[case & (rng.random(len(who)) < 0.08)] = UNMASK
    return made


def _make_counts(
    org: Organisation, day: int, working: Ints, factor: Floats, rng: np.random.Generator
) -> Batch:
    """Everything but looks: searches, lists, logins, payments, approvals."""
    role = org.role[working, day]
    batches = []
    wanted = {
        SEARCH: np.array([one.searches for one in ROLES])[role] * factor[working],
        LIST: np.full(len(working), 3.0),
        LOGIN: np.full(len(working), 1.3),
        PAY: np.where(role == CLERK, 2.0, 0.0),
        APPROVE: np.where(role == MANAGER, 8.0, 0.0),
    }
    for action, means in wanted.items():
        who = np.repeat(working, rng.poisson(means))
        money = action in (PAY, APPROVE)
        customer = pick_outside(org, who, np.zeros(len(who), dtype=bool), rng) if money else UNKNOWN
        batches.append(
            make_batch(
                who,
                work_times(org, day, who, rng),
                action,
                customer=customer,
                assigned=1 if money else UNKNOWN,
                case=int(money),
                purpose=PURPOSE_OF_ROLE[org.role[who, day]],
            )
        )
    return join(batches)


def make_exports(org: Organisation, day: int, means: Floats, rng: np.random.Generator) -> Batch:
    """Return exports in working hours; `means` by staff."""
    who = np.repeat(np.arange(org.staff), rng.poisson(means))
    median = np.array([one.rows_median for one in ROLES])[org.role[who, day]]
    rows = np.exp(np.log(median) + rng.normal(0, 0.9, len(who)))
    purpose = PURPOSE_OF_ROLE[org.role[who, day]]
    return make_batch(
        who,
        work_times(org, day, who, rng),
        EXPORT,
        rows=np.maximum(1, rows.astype(np.int64)),
        case=(rng.random(len(who)) < 0.5).astype(np.int64),
        purpose=purpose,
    )


def export_means(org: Organisation, day: int) -> Floats:
    """Return the mean exports of everybody on an ordinary day."""
    return np.array([one.exports for one in ROLES])[org.role[:, day]]


def _make_oddities(org: Organisation, day: int, working: Ints, rng: np.random.Generator) -> Batch:
    """Rare ordinary things: night duty, a relative's record, a dormant account brought back to life."""
    nights = np.array([one.nights for one in ROLES])[org.role[:, day]]
    here = (org.joined <= day) & (day < org.left) & ~org.dormant
    duty = np.repeat(np.flatnonzero(here & (rng.random(org.staff) < nights)), 6)
    night = make_batch(
        duty,
        (rng.uniform(20, 24, len(duty)) * HOUR_S).astype(np.int64),
        VIEW,
        customer=rng.integers(0, org.customers, len(duty)),
        assigned=0,
        dwell_ms=dwell(org, day, duty, rng),
        case=1,
        purpose=4,
        fields_shown=5,
    )
    known = working[rng.random(len(working)) < 0.004]
    related = make_batch(
        known,
        work_times(org, day, known, rng),
        VIEW,
        customer=org.related[known, rng.integers(0, 3, len(known))],
        assigned=(rng.random(len(known)) < 0.6).astype(np.int64),
        dwell_ms=dwell(org, day, known, rng),
        case=(rng.random(len(known)) < 0.95).astype(np.int64),
        purpose=1,
        fields_shown=5,
    )
    return join([night, related, _make_revivals(org, day, working, rng)])


def _make_revivals(org: Organisation, day: int, working: Ints, rng: np.random.Generator) -> Batch:
    """A clerk looks at a dormant customer with a case, a manager of the branch approves."""
    clerks = working[org.role[working, day] == CLERK]
    clerks = clerks[rng.random(len(clerks)) < 0.04]
    managers = {org.branch[one]: one for one in working[org.role[working, day] == MANAGER]}
    clerks = np.array([one for one in clerks if org.branch[one] in managers], dtype=np.int64)
    approvers = np.array([managers[org.branch[one]] for one in clerks], dtype=np.int64)
    customer = dormant_customers(org, clerks, rng)
    at_s = work_times(org, day, clerks, rng)
    looks = make_batch(
        clerks, at_s, VIEW, customer=customer, assigned=1, case=1, purpose=1, fields_shown=5,
        dwell_ms=dwell(org, day, clerks, rng),
    )  # fmt: skip
    approvals = make_batch(approvers, at_s + 1800, APPROVE, customer=customer, assigned=1, case=1, purpose=0)
    return join([looks, approvals])


def dormant_customers(org: Organisation, who: Ints, rng: np.random.Generator) -> Ints:
    """Return a dormant customer of the own branch for each."""
    each = org.branch_customers
    found = np.flatnonzero(org.state == DORMANT)
    by_branch = [found[found // each == branch] for branch in range(org.branches)]
    return np.array([rng.choice(by_branch[org.branch[one]]) for one in who], dtype=np.int64)


def make_ordinary(org: Organisation, day: int, rng: np.random.Generator) -> Batch:
    """Return what happens on a day when nobody misuses anything."""
    working = np.flatnonzero(is_working(org, day))
    factor, export_factor = _level(org, day)
    means = np.zeros(org.staff)
    means[working] = export_means(org, day)[working] * export_factor
    batch = join(
        [
            _make_looks(org, day, working, factor, rng),
            _make_counts(org, day, working, factor, rng),
            make_exports(org, day, means, rng),
            _make_oddities(org, day, working, rng),
        ]
    )
    own = terminals(org, day)
    hot = rng.random(org.staff) < 0.03
    own[hot] = 300_000 + org.branch[hot] * 4 + rng.integers(0, 4, int(hot.sum()))
    # Now and then somebody sits down at the desk of a colleague who is away.
    guests = np.flatnonzero(rng.random(org.staff) < 0.01)
    hosts = (guests + org.branches * rng.integers(1, 20, len(guests))) % org.staff
    own[guests] = terminals(org, day)[hosts]
    batch.terminal = own[batch.staff]
    batch.failed = (rng.random(len(batch)) < 0.004).astype(np.int64)
    logins = batch.staff[batch.action == LOGIN]
    wrong = logins[rng.random(len(logins)) < 0.05]
    refused = make_batch(wrong, work_times(org, day, wrong, rng), LOGIN, failed=1, terminal=own[wrong])
    return join([batch, refused])
