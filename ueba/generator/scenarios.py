"""The thirteen kinds of misuse, each easy and hard: what they add to, or change in, an ordinary day.

Intensities are those of research/ueba.md §2.3; what that table leaves open is set here once, before
any tuning, and explained in docs/decisions/031.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ueba.generator.ordinary import (
    APPROVE,
    EXPORT,
    HOUR_S,
    SEARCH,
    UNKNOWN,
    VIEW,
    Batch,
    dwell,
    join,
    make_batch,
    make_exports,
    pick_outside,
    terminals,
    work_times,
)
from ueba.generator.ordinary import export_means as ordinary_exports
from ueba.generator.organisation import CLERK, COLLECTOR, MANAGER, NEVER, OFFICER, ROLES, Organisation

EASY, HARD = "easy", "hard"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of misuse; spans are calendar days from the first act on."""

    code: str
    text: str
    easy_days: int
    hard_days: int
    easy_slow: bool = False
    hard_slow: bool = True

    def span(self, intensity: str) -> int:
        """Return how many calendar days a case lasts."""
        return self.easy_days if intensity == EASY else self.hard_days

    def is_slow(self, intensity: str) -> bool:
        """Return whether a case hides by being slow: then 10 days to the queue are allowed, else 1."""
        return self.easy_slow if intensity == EASY else self.hard_slow


SCENARIOS = (
    Scenario("L1", "bulk view of customers", 1, 4, hard_slow=False),
    Scenario("L2", "a public figure's record", 1, 1, hard_slow=False),
    Scenario("L3", "record of family, colleague, neighbour", 10, 1, hard_slow=False),
    Scenario("L4", "slow theft over eight weeks", 56, 56, easy_slow=True),
    Scenario("L5", "export at night", 1, 1, hard_slow=False),
    Scenario("L6", "account shared with a colleague", 4, 14),
    Scenario("L7", "dwell of a script, or of a photographer", 1, 14),
    Scenario("L8", "dormant or leaver's account active", 1, 1, hard_slow=False),
    Scenario("L9", "outside assignment and region", 4, 28),
    Scenario("L10", "fishing searches", 4, 14),
    Scenario("L11", "taking data along before leaving", 30, 30, easy_slow=True),
    Scenario("L12", "the same customer again and again", 1, 14),
    Scenario("L13", "look-up by one, approval by another", 12, 30, easy_slow=True),
)
BY_CODE = {one.code: one for one in SCENARIOS}


@dataclass(frozen=True, slots=True)
class Case:
    """One injected misuse; `members` are all who take part, the first is who it is about."""

    number: int
    scenario: str
    intensity: str
    members: tuple[int, ...]
    start: int
    days: int
    target: int = UNKNOWN
    """The customer or colleague that it is about, by number."""


@dataclass(slots=True)
class Scene:
    """What an injection may use: the organisation, the day and its ordinary events, its own randomness."""

    org: Organisation
    day: int
    batch: Batch
    case: Case
    rng: np.random.Generator

    @property
    def actor(self) -> int:
        """Return who acts."""
        return self.case.members[0]

    @property
    def hard(self) -> bool:
        """Return whether the case is of the hard kind."""
        return self.case.intensity == HARD

    @property
    def since(self) -> int:
        """Return the days since the case began."""
        return self.day - self.case.start

    def mine(self) -> np.ndarray:
        """Return which of the day's ordinary events are the actor's."""
        return np.asarray(self.batch.staff == self.actor)

    def add(self, count: int, action: int = VIEW, **columns: object) -> Batch:
        """Return that many events of the actor in working hours; looks go outside the portfolio."""
        who = np.full(count, self.actor)
        at_s = columns.pop("at_s", None)
        made: dict[str, object] = {
            "terminal": terminals(self.org, self.day)[self.actor],
            "label": self.case.number,
            "purpose": 1,
        }
        if action == VIEW:
            made |= {
                "customer": pick_outside(self.org, who, np.zeros(count, dtype=bool), self.rng),
                "assigned": 0,
                "dwell_ms": dwell(self.org, self.day, who, self.rng),
                "fields_shown": 6,
            }
        times = work_times(self.org, self.day, who, self.rng) if at_s is None else at_s
        return make_batch(who, times, action, **(made | columns))  # type: ignore[arg-type]


def _bulk_view(scene: Scene) -> Batch:
    org, role = scene.org, scene.org.role[scene.actor, scene.day]
    level = ROLES[role].views * org.pace[scene.actor, scene.day]
    count = int(level * (1 if scene.hard else 9))
    first = scene.rng.integers(0, org.customers - count)
    short = scene.rng.lognormal(np.log(3000), 0.4, count).astype(np.int64)
    assigned = (scene.rng.random(count) < 0.2).astype(np.int64)
    return scene.add(count, customer=first + np.arange(count), dwell_ms=short, assigned=assigned)


def _celebrity(scene: Scene) -> Batch:
    who = np.array(scene.case.members)
    return make_batch(
        who, work_times(scene.org, scene.day, who, scene.rng), VIEW, customer=scene.case.target, assigned=0,
        dwell_ms=dwell(scene.org, scene.day, who, scene.rng), terminal=terminals(scene.org, scene.day)[who],
        purpose=1, fields_shown=6, label=scene.case.number,
    )  # fmt: skip


def _acquaintance(scene: Scene) -> Batch:
    looks = 1 if scene.hard or scene.since in (0, 1, 3, 7, 9) else 0
    return scene.add(looks, customer=int(scene.org.related[scene.actor, 0]))


def _slow_theft(scene: Scene) -> Batch:
    return scene.add(2 if scene.hard else 8)


def _night_export(scene: Scene) -> Batch:
    hour, rows = (21.0, 500) if scene.hard else (2.0, 50_000)
    return scene.add(1, EXPORT, rows=rows, at_s=np.array([int((hour + scene.rng.random()) * HOUR_S)]))


def _shared_account(scene: Scene) -> Batch:
    org, other = scene.org, scene.case.target
    elsewhere = int(terminals(org, scene.day)[other])
    if not scene.hard:
        own = int(org.portfolio[scene.actor, 0]) + np.arange(12)
        return scene.add(12, terminal=elsewhere, assigned=1, case=1, customer=own)
    if scene.since % 2 == 0:
        mine = scene.mine()
        rhythm = np.exp(org.dwell_shift[other] - org.dwell_shift[scene.actor] + 0.3)
        scene.batch.terminal[mine] = elsewhere
        scene.batch.at_s[mine] += HOUR_S
        seen = mine & (scene.batch.dwell_ms > 0)
        scene.batch.dwell_ms[seen] = (scene.batch.dwell_ms[seen] * rhythm).astype(np.int64)
        scene.batch.label[mine] = scene.case.number
    return scene.add(0)


def _odd_dwell(scene: Scene) -> Batch:
    if not scene.hard:
        return scene.add(150, dwell_ms=1500 + scene.rng.integers(-20, 20, 150), assigned=1, case=1,
                         customer=scene.org.portfolio[scene.actor, scene.day] + np.arange(150) %
                         scene.org.portfolio_size)  # fmt: skip
    seen = scene.mine() & (scene.batch.dwell_ms > 0)
    scene.batch.dwell_ms[seen] = (scene.batch.dwell_ms[seen] * 1.3).astype(np.int64)
    scene.batch.label[seen] = scene.case.number
    return scene.add(0)


def _dormant_account(scene: Scene) -> Batch:
    return scene.add(1 if scene.hard else 5)


def _outside_region(scene: Scene) -> Batch:
    share = 0.05 if scene.hard else 0.6
    turned = scene.mine() & (scene.batch.action == VIEW)
    turned &= scene.rng.random(len(scene.batch)) < share
    scene.batch.customer[turned] = scene.rng.integers(0, scene.org.customers, int(turned.sum()))
    scene.batch.assigned[turned], scene.batch.case[turned] = 0, 0
    scene.batch.label[turned] = scene.case.number
    return scene.add(0)


def _fishing(scene: Scene) -> Batch:
    searches = 10 if scene.hard else 80
    return join([scene.add(searches, SEARCH), scene.add(searches // 10)])


def _before_leaving(scene: Scene) -> Batch:
    more = 0.2 if scene.hard else 2.0
    role = ROLES[scene.org.role[scene.actor, scene.day]]
    means = np.zeros(scene.org.staff)
    means[scene.actor] = ordinary_exports(scene.org, scene.day)[scene.actor] * more
    exports = make_exports(scene.org, scene.day, means, scene.rng)
    exports.label[:] = scene.case.number
    exports.terminal[:] = terminals(scene.org, scene.day)[scene.actor]
    return join([exports, scene.add(int(scene.rng.poisson(role.views * role.unassigned * more)))])


def _again_and_again(scene: Scene) -> Batch:
    if scene.hard and scene.since not in (0, 4, 9):
        return scene.add(0)
    return scene.add(3 if scene.hard else 12, customer=scene.case.target, assigned=0)


def _collusion(scene: Scene) -> Batch:
    looks, wait = ((0, 4, 8), 0) if not scene.hard else ((0, 5, 10), 14)
    other = scene.case.members[1]
    each = scene.org.branch_customers
    dormant = scene.org.branch[scene.actor] * each + np.flatnonzero(
        scene.org.state[scene.org.branch[scene.actor] * each :][:each] == 3
    )
    pick = {step: int(dormant[(scene.case.target + step) % len(dormant)]) for step in looks}
    batches = [scene.add(0)]
    if scene.since in pick:
        batches.append(scene.add(1, customer=pick[scene.since]))
    if scene.since - wait in pick:
        who = np.array([other])
        batches.append(
            make_batch(who, work_times(scene.org, scene.day, who, scene.rng) + 2 * HOUR_S, APPROVE,
                       customer=pick[scene.since - wait], assigned=1, case=1, purpose=0,
                       terminal=terminals(scene.org, scene.day)[other], label=scene.case.number)
        )  # fmt: skip
    return join(batches)


INJECT: dict[str, Callable[[Scene], Batch]] = {
    "L1": _bulk_view,
    "L2": _celebrity,
    "L3": _acquaintance,
    "L4": _slow_theft,
    "L5": _night_export,
    "L6": _shared_account,
    "L7": _odd_dwell,
    "L8": _dormant_account,
    "L9": _outside_region,
    "L10": _fishing,
    "L11": _before_leaving,
    "L12": _again_and_again,
    "L13": _collusion,
}
ALWAYS = frozenset({"L2", "L5", "L8"})
"""Happen on the day itself; the others only on days on which the actor comes in."""


def plan_cases(org: Organisation, each: int, first: int, rng: np.random.Generator) -> list[Case]:
    """Draw `each` cases of every scenario and intensity, begun on working days from `first` on."""
    usual = np.isin(org.role[:, 0], (CLERK, OFFICER, COLLECTOR)) & (org.joined < 0) & (org.notice == NEVER)
    free = list(rng.permutation(np.flatnonzero(usual & ~org.dormant)))
    managers = list(rng.permutation(np.flatnonzero((org.role[:, 0] == MANAGER) & (org.notice == NEVER))))
    dormant = list(rng.permutation(np.flatnonzero(org.dormant)))
    listed = np.flatnonzero(org.listed)
    made: list[Case] = []
    for scenario in SCENARIOS:
        for intensity in (EASY, HARD):
            for _ in range(each):
                span = scenario.span(intensity)
                start = int(rng.integers(first, max(first + 1, org.days - span - 3)))
                start -= max(0, start % 7 - 4)
                actor = int(dormant.pop() if scenario.code == "L8" else free.pop())
                members: tuple[int, ...] = (actor,)
                target = UNKNOWN
                if scenario.code == "L2":
                    extra = (
                        () if intensity == HARD else tuple(int(one) for one in rng.choice(free, 14, False))
                    )
                    members, target = (actor, *extra), int(rng.choice(listed))
                if scenario.code == "L6":
                    target = int(rng.choice(free))
                if scenario.code in ("L12", "L13"):
                    target = int(rng.integers(0, org.customers))
                if scenario.code == "L13":
                    near = [one for one in managers if org.branch[one] == org.branch[actor]] or managers
                    members = (actor, int(near[0]))
                if scenario.code == "L11":
                    org.notice[actor], org.left[actor] = start, start + span
                made.append(Case(len(made), scenario.code, intensity, members, start, span, target))
    return made
