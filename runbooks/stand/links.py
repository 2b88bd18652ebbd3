"""States of the directed links between sites, as values and as the file links.json.

Imported by the border, which has to start fast: keep to the standard library.
"""

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

SITE_NAMES = ("idc", "cloud", "witness")
MAX_DELAY_MS = 60_000


class LinkMode(enum.StrEnum):
    """What a directed link does. CUT: resets and refuses. HOLE: swallows in silence, keeps the bytes."""

    OK = "ok"
    CUT = "cut"
    HOLE = "hole"


@dataclass(frozen=True, slots=True)
class LinkState:
    """State of one directed link; `delay_ms` is added to every chunk that crosses while it is OK."""

    mode: LinkMode = LinkMode.OK
    delay_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ms <= MAX_DELAY_MS:
            raise ValueError(f"delay_ms {self.delay_ms}: needs 0 to {MAX_DELAY_MS}")

    @property
    def text(self) -> str:
        """Return `ok`, `cut`, `hole` or `delay 50 ms`, for people."""
        return f"delay {self.delay_ms} ms" if self.mode is LinkMode.OK and self.delay_ms else str(self.mode)


HEALED = LinkState()
LinkTable = dict[str, LinkState]


def link_name(source: str, destination: str) -> str:
    """Return the name of a directed link, e.g. `idc>cloud`; ValueError for sites that are none."""
    if source not in SITE_NAMES or destination not in SITE_NAMES or source == destination:
        raise ValueError(
            f"link {source!r} to {destination!r}: needs two different of {', '.join(SITE_NAMES)}"
        )
    return f"{source}>{destination}"


ALL_LINKS = tuple(link_name(a, b) for a, b in permutations(SITE_NAMES, 2))


def links_of_site(site: str) -> tuple[str, ...]:
    """Return the names of all links from and to `site`."""
    return tuple(name for name in ALL_LINKS if site in name.split(">"))


def healed_table() -> LinkTable:
    """Return the table in which every link is OK."""
    return dict.fromkeys(ALL_LINKS, HEALED)


def parse_links(plain: Mapping[str, Mapping[str, object]]) -> LinkTable:
    """Read a (partial) table from its JSON form; ValueError names what is unknown."""
    table = {}
    for name, state in plain.items():
        delay = state.get("delay_ms", 0)
        if name not in ALL_LINKS or not isinstance(delay, int) or set(state) - {"mode", "delay_ms"}:
            raise ValueError(
                f"link {name!r}: {dict(state)!r} needs mode and delay_ms of a known pair of sites"
            )
        table[name] = LinkState(LinkMode(str(state.get("mode", "ok"))), delay)
    return table


def plain_links(table: LinkTable) -> dict[str, dict[str, object]]:
    """Return the JSON form of a table."""
    return {name: {"mode": str(s.mode), "delay_ms": s.delay_ms} for name, s in sorted(table.items())}


def read_links(path: Path) -> LinkTable:
    """Read links.json, every link OK when it is missing; ValueError when it is not a link table."""
    try:
        return healed_table() | parse_links(json.loads(path.read_text()))
    except FileNotFoundError:
        return healed_table()


def write_links(path: Path, table: LinkTable) -> None:
    """Write links.json in one piece."""
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(plain_links(table), indent=2))
    aside.replace(path)


def unhealthy(table: LinkTable, names: Iterable[str] = ALL_LINKS) -> list[str]:
    """Return a text for each of the links that is not plainly OK."""
    return [f"{name.replace('>', ' to ')}: {table[name].text}" for name in names if table[name] != HEALED]
