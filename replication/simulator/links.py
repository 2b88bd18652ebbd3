"""The lines between sites, each direction for itself: open, slow, cut (refused) or a hole (silence)."""

import enum
from random import Random

from replication.model import Site


class Line(enum.StrEnum):
    """The state of one direction."""

    OPEN = "open"
    SLOW = "slow"
    CUT = "cut"
    HOLE = "hole"


_SHUT = (Line.CUT, Line.HOLE)


class Links:
    """All directed lines; a site's inside is always open."""

    def __init__(self, rnd: Random) -> None:
        self._random = rnd.random
        self._lines: dict[tuple[Site, Site], Line] = {}

    @property
    def touched(self) -> bool:
        """Say whether any direction was ever changed since the last healing."""
        return bool(self._lines)

    def set(self, source: Site, target: Site, line: Line) -> None:
        """Change one direction."""
        self._lines[source, target] = line

    def heal(self) -> None:
        """Open everything."""
        self._lines.clear()

    def line(self, source: Site, target: Site) -> Line:
        """Return the state of one direction."""
        return self._lines.get((source, target), Line.OPEN)

    def delay_ms(self, source: Site, target: Site) -> int | None:
        """Return how long a message under way now takes; None when it does not arrive."""
        if source is target:
            return 1
        line = self._lines.get((source, target), Line.OPEN)
        if line is Line.OPEN:
            return 1 + int(self._random() * 5)
        return 20 + int(self._random() * 120) if line is Line.SLOW else None

    def connected(self, one: Site, other: Site) -> bool:
        """Say whether messages pass both ways."""
        if one is other or not self._lines:
            return True
        line = self._lines.get
        return line((one, other)) not in _SHUT and line((other, one)) not in _SHUT

    def refused(self, source: Site, target: Site) -> bool:
        """Say whether a connection attempt is refused at once: certainly nothing was sent."""
        return Line.CUT in (self.line(source, target), self.line(target, source))
