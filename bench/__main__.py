"""Run the benches one after another, compare with the results kept before, draw how far the goals are.

`python -m bench [NAME …] [--show] [--json]` (`make bench`). Nothing else should run on the machine. Each
bench prints its own figures and writes bench/results/NAME.json; the goals are in bench/goals.yaml.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from bench._goals_plot import draw

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PLOT = RESULTS / "goals.svg"
SECONDS_A_MINUTE = 60 * 4
"""Patience with a bench for each minute that it usually takes. Source: our choice, for a shared machine."""


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure, before and now; `distance` is 1 at the goal and above 1 beyond it, None without a goal."""

    bench: str
    name: str
    before: float | None
    now: float | None
    goal: str
    distance: float | None

    @property
    def met(self) -> bool | None:
        """Return whether the goal is met; None when there is none, or no figure."""
        return None if self.distance is None else self.distance >= 1


def read_goals() -> dict[str, dict[str, Any]]:
    """Return what bench/goals.yaml says of each bench, in its order."""
    return yaml.safe_load((HERE / "goals.yaml").read_text())


def read_result(name: str) -> dict[str, Any]:
    """Return the kept result of a bench, {} when there is none yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def figure_at(result: dict[str, Any], path: str) -> float | None:
    """Return the number at a dotted path, None when the result has none there.

    >>> figure_at({"a": {"b": [2]}}, "a.b.0"), figure_at({}, "a.b")
    (2, None)
    """
    at: Any = result
    for key in path.split("."):
        at = at.get(key) if isinstance(at, dict) else at[int(key)] if isinstance(at, list) else None
    return at


def read_figure(result: dict[str, Any], figure: dict[str, Any]) -> float | None:
    """Return a figure of goals.yaml from a result."""
    value = figure_at(result, figure["at"])
    if value is None or "over" not in figure:
        return value
    divisor = figure_at(result, figure["over"])
    return value / divisor if divisor else None


def measure_distance(value: float | None, figure: dict[str, Any]) -> float | None:
    """Return value over goal, turned so that 1 is the goal and more is better; at most 4, for the plot.

    >>> measure_distance(0.25, {"most": 0.5}), measure_distance(0.25, {"least": 0.5})
    (2.0, 0.5)
    """
    if value is None or not {"least", "most"} & set(figure):
        return None
    if "least" in figure:
        return min(4.0, value / figure["least"])
    if value <= 0:
        return 4.0
    return min(4.0, figure["most"] / value)


def compare(
    name: str, figures: list[dict[str, Any]], before: dict[str, Any], now: dict[str, Any]
) -> list[Headline]:
    """Return the headlines of one bench."""
    found = []
    for figure in figures:
        value = read_figure(now, figure)
        goal = "".join(
            f"{sign} {figure[key]}" for key, sign in (("least", "≥"), ("most", "≤")) if key in figure
        )
        distance = measure_distance(value, figure)
        found.append(Headline(name, figure["name"], read_figure(before, figure), value, goal, distance))
    return found


def run_bench(name: str, goal: dict[str, Any], console: Console) -> bool:
    """Run one bench, its output as it comes; whether it ended well."""
    command = [sys.executable, "-m", goal["bench"], *goal.get("words", [])]
    console.print(f"[bold]{name}[/] about {goal['minutes']} min: {' '.join(command[1:])}")
    try:
        done = subprocess.run(command, cwd=HERE.parent, timeout=SECONDS_A_MINUTE * goal["minutes"], stdout=2)
    except subprocess.TimeoutExpired as late:
        console.print(f"[red]{name}: not over after {late.timeout:.0f} s[/]")
        return False
    return done.returncode == 0


def show(headlines: list[Headline], results: dict[str, dict[str, Any]]) -> None:
    """Print the headlines for people."""
    table = Table("bench", "figure", "goal", "before", "now", "", title="Benches", title_justify="left")
    for one in headlines:
        mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[one.met]
        values = ("-" if value is None else f"{value:.3g}" for value in (one.before, one.now))
        table.add_row(one.bench, one.name, one.goal, *values, mark)
    console = Console()
    console.print(table)
    undated = sorted(name for name, result in results.items() if not result)
    if undated:
        console.print(f"no result yet: {', '.join(undated)}")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--show", "only_show", is_flag=True, help="Run nothing: the kept results and their goals.")
@click.option("--json", "as_json", is_flag=True, help="Print the headlines as objects.")
def main(names: tuple[str, ...], only_show: bool, as_json: bool) -> None:
    """Run the named benches, or all of them; exit 1 if one of them failed.

    A goal that is missed is shown and does not fail: docs/performance.md says what holds it.
    """
    goals = read_goals()
    if unknown := set(names) - set(goals):
        raise click.UsageError(
            f"no bench is called {', '.join(sorted(unknown))}; there are {', '.join(goals)}"
        )
    chosen = [name for name in goals if not names or name in names]
    before = {name: read_result(name) for name in chosen}
    console = Console(stderr=True)
    failed = [name for name in chosen if not only_show and not run_bench(name, goals[name], console)]
    now = {name: read_result(name) for name in chosen}
    headlines = [
        one for name in chosen for one in compare(name, goals[name]["figures"], before[name], now[name])
    ]
    if not names:
        PLOT.write_text(draw([(one.name, one.distance, bool(one.met)) for one in headlines if one.distance]))
    if as_json:
        click.echo(json.dumps([{**asdict(one), "met": one.met} for one in headlines], ensure_ascii=False))
    else:
        show(headlines, now)
    if failed:
        console.print(f"[red]failed: {', '.join(failed)}[/]")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
