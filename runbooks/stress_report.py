"""The page of a stress test: plots of provisions and cash, ratios by scenario; Chinese with English."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from core_app.loans.classification import AssetClass
from core_app.stress.shock import Portfolio
from runbooks.indicators import show
from runbooks.stress import Tested, yuan

_INK, _FAINT = "#010101", "#020202"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "biyi", "font.family": "sans-serif", "font.size": 10,
    "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _FAINT, "xtick.color": _INK,
    "ytick.color": _INK, "axes.spines.top": False, "axes.spines.right": False, "grid.color": _FAINT,
    "grid.linewidth": 0.5, "grid.alpha": 0.5, "savefig.transparent": True,
}  # fmt: skip
_CLASSES = {
    AssetClass.NORMAL: ("正常", "normal", "#5b8def"),
    AssetClass.SPECIAL_MENTION: ("关注", "special mention", "#e0b94f"),
    AssetClass.SUBSTANDARD: ("次级", "substandard", "#e08a3c"),
    AssetClass.DOUBTFUL: ("可疑", "doubtful", "#cf5b4c"),
    AssetClass.LOSS: ("损失", "loss", "#8a2f3b"),
}
_STATES = {"within": "达标", "breached": "突破", "unknown": "未知", "nothing": "无"}


def render_report(portfolio: Portfolio, tested: Sequence[Tested]) -> str:
    """Return the page: the same portfolio and scenarios give the same bytes."""
    # Everything is escaped but for the drawings, which are made here.
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return pages.get_template("stress.html").render(
        portfolio=portfolio,
        tested=tested,
        classes=_CLASSES,
        states=_STATES,
        show=show,
        yuan=yuan,
        provisions=Markup(_draw_provisions(tested)),  # noqa: S704
        cash=Markup(_draw_cash(tested)),  # noqa: S704
    )


def _draw_provisions(tested: Sequence[Tested]) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 0.6 * len(tested) + 1.4), layout="constrained")
        balances, provisions = figure.subplots(1, 2, sharey=True)
        names = [one.scenario.id for one in tested]
        left = [0.0] * len(tested)
        for name, (_, label, colour) in _CLASSES.items():
            width = [one.outcome.balances_fen.get(name, 0) / 100 for one in tested]
            balances.barh(names, width, left=left, color=colour, label=label)
            left = [before + more for before, more in zip(left, width, strict=True)]
        balances.set_xlabel("our balances by class, yuan")
        balances.legend(fontsize=8, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        provisions.barh(names, [one.outcome.provision_fen / 100 for one in tested], color="#5b8def")
        provisions.set_xlabel("provisions needed, yuan")
        balances.invert_yaxis()
        for axes in (balances, provisions):
            axes.grid(axis="x")
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.tick_params(axis="x", labelsize=8)
        return _to_svg(figure)


def _draw_cash(tested: Sequence[Tested]) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        axes = figure.subplots()
        for one in tested:
            days = one.outcome.runoff.days
            axes.plot(range(1, len(days) + 1), [day.net_fen / 100 for day in days], label=one.scenario.id)
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.set_xlabel("days after the evening")
        axes.set_ylabel("cash since the evening, yuan")
        axes.grid(axis="y")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.legend(fontsize=8, frameon=False)
        return _to_svg(figure)


def _to_svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "var(--ink)").replace(_FAINT, "var(--faint)")
