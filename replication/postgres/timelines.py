"""Timeline numbers that no two promotions share.

PostgreSQL promotes onto the first number above its own of which it has no history file. Two candidates
that knew nothing of each other would take the same one with different histories: a stopped directory of
the one then looks contained in the other, pg_rewind finds "no rewind required", archives collide
(research failover section 2.11, 2.20). So each epoch's grant reserves a number, and the candidate fills
the numbers between with placeholders: history files that hold a comment and no history.

A server that runs serves them to its standbys, which ask for every number up to its own. A standby must
not *start* with one above all that it really knows: it would take it for its newest timeline and end.
"""

from pathlib import Path

from replication.postgres.copy import Copy, write_file

PLACEHOLDER = "# reserved for a promotion that came to nothing; no history of this server\n"
"""PostgreSQL passes over comments in a history file. Source: PostgreSQL's timeline.c, readTimeLineHistory."""


def reserve(copy: Copy, current: int, reserved: int) -> None:
    """Have the standby, which is on timeline `current`, take the number `reserved` when it is promoted."""
    for timeline in range(current + 1, reserved):
        path = _path(copy, timeline)
        if not path.exists():
            write_file(copy, path, PLACEHOLDER)


def forget_reserved(copy: Copy) -> None:
    """Take away the placeholders above every real history file; only before a standby starts."""
    found = sorted((copy.data_dir / "pg_wal").glob("????????.history"), reverse=True)
    for path in found:
        if path.read_text(errors="replace") != PLACEHOLDER:
            return
        path.unlink()


def _path(copy: Copy, timeline: int) -> Path:
    return copy.data_dir / "pg_wal" / f"{timeline:08X}.history"
