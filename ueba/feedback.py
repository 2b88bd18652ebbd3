"""What follows from reviews for later scores and queues. Pure.

Nothing here lowers a score: an explained kind of behaviour is allowed for a while and up to what was seen; an
open case's days do not become usual, nor does a day whose data were wrong; a new role has no usual yet.
"""

import datetime as dt
from collections.abc import Sequence

import pyarrow as pa

from core_app.staff.reviews import Act, Disposition, list_cases
from ueba.evidence import Distrust
from ueba.queue import Reviewed
from ueba.scoring import Allowance
from ueba.settings import day_number


def reviewed_of(acts: Sequence[Act]) -> dict[str, Reviewed]:
    """Return the last review of each person, as the queue wants it."""
    made: dict[str, Reviewed] = {}
    for case in reversed(list_cases(acts)):
        first = case.acts[0]
        before = made.get(case.staff)
        day = day_number(case.on)
        days = (*(before.days if before else ()), day)
        made[case.staff] = Reviewed(day, first.fresh, first.slow, days, open=case.open)
    return made


def distrusted_of(acts: Sequence[Act], today: dt.date, before: int = 0) -> list[Distrust]:
    """Return the days that must not become usual: of open cases and of misuse that was found, and the one
    reviewed day whose data turned out to be wrong.

    They begin `before` days ahead of the review: what led to it had begun by then. With the gap of what is
    usual as `before` none of them has become usual yet.
    """
    kept = (Disposition.MALICIOUS, Disposition.POLICY_BREACH)
    made = []
    for case in list_cases(acts):
        on = day_number(case.on)
        if case.open or case.disposition in kept:
            made.append(Distrust(case.staff, on - before, day_number(today)))
        elif case.disposition is Disposition.DATA_FAULT:
            made.append(Distrust(case.staff, on, on))
    return made


def begun_anew(register: pa.Table, acts: Sequence[Act]) -> list[tuple[str, int]]:
    """Return who has another role since which day: by the personnel register, or as a review confirmed."""
    told = register.select(["staff", "role_since"]).to_pylist()
    made = [(row["staff"], day_number(row["role_since"])) for row in told if row["role_since"] is not None]
    return made + [
        (case.staff, day_number(case.on))
        for case in list_cases(acts)
        if not case.open and case.disposition is Disposition.ROLE_CHANGE
    ]


def allowed_of(acts: Sequence[Act]) -> list[Allowance]:
    """Return what confirmed explanations allow: a kind of behaviour, until a day, up to what was seen."""
    made = []
    for case in list_cases(acts):
        proposed = next((act for act in reversed(case.acts) if act.kind == "propose"), None)
        if case.open or proposed is None or case.disposition is not Disposition.EXPLAINED:
            continue
        if proposed.family is not None and proposed.until is not None:
            until = day_number(proposed.until)
            made.append(
                Allowance(
                    case.staff,
                    proposed.family,
                    day_number(case.on),
                    until,
                    max(proposed.fresh, proposed.slow),
                )
            )
    return made
