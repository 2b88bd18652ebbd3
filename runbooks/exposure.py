"""What is at risk of a site's loss, in words: one row's figures for `biyi cells`, and yuan. No I/O."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

NOTHING = {"exposed_bytes": 0, "commits": 0, "moved_fen": 0, "age_s": 0.0, "known_age_s": 0.0}
UNKNOWN = dict.fromkeys(NOTHING)


def compute_exposure(
    grant: Mapping[str, Any], published: Mapping[str, Any], now: datetime
) -> dict[str, float | int | None]:
    """Return the exposure of one cell: bytes of WAL, commits, money moved (fen), ages in seconds.

    `grant` is an encoded grant, `published` what the sites' agents wrote: site -> cell -> exposure. While
    the sync set has a copy at the other site nothing is at risk, by definition (I1). `age_s` is how long
    ago a copy there last had everything, `known_age_s` how old the figures are. None where not known.
    """
    site = _site_of(grant["primary"])
    if any(_site_of(copy) != site for copy in grant["sync_set"]):
        return dict(NOTHING)
    known = (published.get(site) or {}).get(grant["cell"])
    taking = grant["mode"] == "TAKING"
    if (
        known is None
        or known["copy"] != grant["primary"]
        or (known["epoch"] != grant["epoch"] and not taking)
    ):
        return dict(UNKNOWN)
    base = known["base_lsn"]
    return {
        "exposed_bytes": None if base is None else max(0, known["wal_flush_lsn"] - base),
        "commits": known["commits"],
        "moved_fen": known["moved_fen"],
        "age_s": _age_s(known["since"], now),
        "known_age_s": _age_s(known["at"], now),
    }


def word_exposure(row: Mapping[str, Any]) -> str:
    """Return what is at risk in one line."""
    if row["exposed_bytes"] == 0 and row["age_s"] == 0:
        return "nothing"
    if row["known_age_s"] is None:
        return "unknown"
    parts = [
        word_bytes(row["exposed_bytes"]),
        f"{word_count(row['commits'])} commits",
        word_yuan(row["moved_fen"]),
        f"since {word_age(row['age_s'])}",
    ]
    return ", ".join(parts)


def word_count(number: int | None) -> str:
    """Return a number, or that it is not known."""
    return "unknown" if number is None else f"{number:,}"


def word_bytes(number: int | None) -> str:
    """Return bytes of WAL."""
    return "unknown bytes" if number is None else f"{number:,} B"


def word_yuan(amount_fen: int | None) -> str:
    """Return an amount in yuan; fen stay fen behind the point, without rounding."""
    if amount_fen is None:
        return "unknown yuan"
    return f"¥{amount_fen // 100:,}.{amount_fen % 100:02}"


def word_age(seconds: float | None) -> str:
    """Return how long ago."""
    return "unknown" if seconds is None else f"{seconds:,.0f} s"


def _site_of(copy: str) -> str:
    return copy.split("-")[1]


def _age_s(at: str | None, now: datetime) -> float | None:
    return None if at is None else max(0.0, round((now - datetime.fromisoformat(at)).total_seconds(), 1))
