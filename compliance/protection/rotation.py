"""The order in which a table's key is rotated while both sites write. Pure: one look in, one step out.

    arrive at both sites -> primary at each site -> re-wrap the rows -> prove that none is left -> retire

Tink's order (add, roll out, then make primary), driven by what the rings say rather than by waiting. Every
step may be repeated, so a rotation that was cut off goes on where it stood, from either site.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from compliance.protection.ring import State


class Step(enum.StrEnum):
    """What is to be done next."""

    SEND = "send the version to the site that lacks it"
    PROMOTE = "make the version primary at the site: both sites open it"
    REWRAP = "seal the rows anew that are under an older version"
    RETIRE = "retire the older version at the site: no row is under it"
    DONE = "nothing is under way"


@dataclass(frozen=True, slots=True)
class Next:
    """One step: at which site (None: in the cells), and of which version."""

    step: Step
    site: str | None = None
    version: int | None = None


def decide_rotation(sites: Mapping[str, Mapping[int, State]], *, no_row_left: bool) -> Next:
    """Return the next step of a table's rotation.

    `no_row_left` says that every cell refuses rows under the old versions and was found to hold none.
    A site that cannot be asked has no place here: without it nothing may be promoted or retired.
    """
    newest = max(version for states in sites.values() for version in states)
    for site, states in sorted(sites.items()):
        if newest not in states:
            return Next(Step.SEND, site, newest)
    for site, states in sorted(sites.items()):
        if states[newest] is State.ARRIVED:
            return Next(Step.PROMOTE, site, newest)
    old = sorted({v for states in sites.values() for v, state in states.items() if state is State.OLD})
    if not old:
        return Next(Step.DONE)
    if not no_row_left:
        return Next(Step.REWRAP, None, newest)
    for site, states in sorted(sites.items()):
        for version in old:
            if states.get(version) is State.OLD:
                return Next(Step.RETIRE, site, version)
    return Next(Step.DONE)
