"""Whether a site's scoring has each act of a drill once. Pure.

Scoring remembers each event's id and counts events and looks beside it in one step. What else was done in the
same account (a login, a search of somebody else) is scored too: it is allowed, counted twice it is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acted:
    """What a drill did as one member of staff: the ids of looks at a customer, and of its other events."""

    looks: frozenset[str]
    others: frozenset[str] = frozenset()

    @property
    def ids(self) -> frozenset[str]:
        """Return the ids of everything."""
        return self.looks | self.others


@dataclass(frozen=True, slots=True)
class Counted:
    """What a site's Valkey has of one member of staff: ids; how many events and looks it counted."""

    ids: frozenset[str] = frozenset()
    events: int = 0
    looks: int = 0


def find_lost(acted: Mapping[str, Acted], counted: Mapping[str, Counted]) -> tuple[str, ...]:
    """Return what a site did not score: ids, and counts that are too low, by name of staff."""
    found: list[str] = []
    for name, one in acted.items():
        has = counted.get(name, Counted())
        found += sorted(one.ids - has.ids)
        if not one.ids - has.ids and (has.events < len(has.ids) or has.looks < len(one.looks)):
            found.append(_tell(name, one, has))
    return tuple(found)


def find_doubled(acted: Mapping[str, Acted], counted: Mapping[str, Counted]) -> tuple[str, ...]:
    """Return whose events or looks a site counted more often than there are any.

    Looks are the drill's alone: its accounts are its own, and nobody else looks with them.
    """
    return tuple(
        _tell(name, one, has)
        for name, one in acted.items()
        if (has := counted.get(name, Counted())).events > len(has.ids) or has.looks > len(one.looks)
    )


def _tell(name: str, acted: Acted, has: Counted) -> str:
    events, looks = f"{has.events} counted of {len(has.ids)}", f"{has.looks} counted of {len(acted.looks)}"
    return f"{name}: events {events}, looks {looks}"
