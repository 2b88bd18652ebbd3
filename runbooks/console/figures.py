"""What the metric board shows, made of what commands answered; figures and alerts are data. Pure.

No figure is computed here that a module of the core computes: this lays out what those said, and says of each
whether it is good, and which command said it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbooks.console.words import WORDS

COMMANDS = (
    ("risk", "indicators", "--json"),
    ("ledger", "balances", "--json"),
    ("payouts", "--json"),
    ("day-end", "status", "--json"),
    ("report", "status", "--json"),
)
"""What the board is made of, in this order."""
GROUPS = ("risk", "ledger", "payouts", "day_end", "filings")
"""The board's groups: one for each command."""
_STATES = {"within": "good", "breached": "bad", "unknown": "odd", "nothing": "none"}
_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: names in Chinese and English; `state` good, bad, odd (not known) or none (no judgement).

    `text` is the value for people in both, `bound` what it is judged by, `owner` who looks after it.
    """

    group: str
    name: tuple[str, str]
    text: tuple[str, str]
    state: str
    bound: str = ""
    owner: str = ""


def make_figures(answers: Sequence[Any]) -> list[Figure]:
    """Return the figures of all answers; None among them is a command that said nothing."""
    makers: tuple[Callable[[Any], Iterator[Figure]], ...] = (_risk, _ledger, _payouts, _day_end, _filings)
    return [
        figure
        for maker, answer in zip(makers, answers, strict=True)
        if answer is not None
        for figure in maker(answer)
    ]


def find_alerts(figures: Iterable[Figure]) -> list[Figure]:
    """Return what somebody has to look at, what is broken before what is not known."""
    return sorted((one for one in figures if one.state in ("bad", "odd")), key=lambda one: one.state)


def _risk(plain: Mapping[str, Any]) -> Iterator[Figure]:
    for row in plain["indicators"]:
        zh, en = row["name"]["zh"], row["name"]["en"]
        if row["partner"]:
            zh, en = f"{zh}（{row['partner']}）", f"{en} ({row['partner']})"
        text = WORDS["unknown"] if row["state"] == "unknown" else ("-", "-")
        if row["value"] is not None:
            text = (f"{float(row['value']) * _PERCENT:.2f} %",) * 2
        yield Figure("risk", (zh, en), text, _STATES[row["state"]], _percent(row["bounds"]), row["owner"])


def _percent(bounds: str) -> str:
    """Return bounds as parts of a hundred.

    >>> _percent(">= 1.5 <= 0.05")
    '≥ 150 % ≤ 5 %'
    """
    signs = {">=": "≥", "<=": "≤"}
    return " ".join(
        signs[word] if word in signs else f"{float(word) * _PERCENT:g} %" for word in bounds.split()
    )


def _ledger(plain: Mapping[str, Any]) -> Iterator[Figure]:
    off = len(plain["unbalanced"])
    yield Figure("ledger", WORDS["figure.balanced"], (str(off),) * 2, "bad" if off else "good", "= 0")
    for row in plain["balances"]:
        name = f"{row['account']} {row['name']}"
        yield Figure("ledger", (name, name), (_yuan(row["balance_fen"]),) * 2, "none")


def _yuan(fen: int) -> str:
    """Return a balance with the sign before the currency.

    >>> _yuan(-118230941)
    '-¥ 1,182,309.41'
    """
    return f"{'-' if fen < 0 else ''}¥ {abs(fen) / 100:,.2f}"


def _payouts(plain: Mapping[str, Any]) -> Iterator[Figure]:
    for state in ("ordered", "sent", "paid", "failed", "unknown"):
        count = plain["counts"].get(state, 0)
        odd = state == "unknown" and count
        yield Figure(
            "payouts", WORDS[f"figure.payouts.{state}"], (f"{count:,}",) * 2, "odd" if odd else "none"
        )
    for site, channels in plain["channels"].items():
        for channel, state in (channels or {"": ""}).items():
            yield _channel(site, channel, state)


def _channel(site: str, channel: str, state: str) -> Figure:
    """Return what a payer does with a channel: its breaker's state, in words."""
    (zh, en), (seen_zh, seen_en) = WORDS["figure.channels"], WORDS["figure.channels.seen_from"]
    which = f" {channel}" if channel else ""
    name = (f"{zh}{which}（{seen_zh.format(site=site)}）", f"{en}{which} ({seen_en.format(site=site)})")
    text = WORDS[f"breaker.{state}"] if state else WORDS["figure.channels.none"]
    return Figure("payouts", name, text, {"closed": "good", "open": "bad"}.get(state, "odd"))


def _day_end(plain: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for row in plain:
        zh, en = WORDS["figure.day_end"]
        name = (f"{zh} {row['cell']}", f"{en} {row['cell']}")
        if "away" in row:
            yield Figure("day_end", name, WORDS["unknown"], "odd")
            continue
        late = row["days_late"]
        zh, en = WORDS["figure.late"]
        yield Figure("day_end", name, (row["day_end_of"] or "-",) * 2, "none")
        yield Figure(
            "day_end",
            (f"{zh} {row['cell']}", f"{en} {row['cell']}"),
            (str(late), str(late)),
            "bad" if late else "good",
            "= 0",
        )


def _filings(plain: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    counts = Counter(row["state"] for row in plain)
    for state in ("prepared", "sending", "received", "accepted", "rejected"):
        bad = state == "rejected" and counts[state]
        yield Figure(
            "filings", WORDS[f"figure.filings.{state}"], (f"{counts[state]:,}",) * 2, "bad" if bad else "none"
        )
