"""What a drill would do and whether it could begin now: looked up without touching anything.

`find_obstacles` asks the entrances and etcd only; nothing is written, no folder is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.model import Mode, Site, other_data_site
from replication.tls import calling
from runbooks.drills.catalogue import SECTIONS, Drill, Runbook
from runbooks.drills.lock import read_running
from runbooks.drills.past import find_interrupted
from runbooks.drills.scene import DrillRefused, find_entrances, find_settings
from runbooks.drills.watch import find_not_home


@dataclass(frozen=True, slots=True)
class Target:
    """What a drill is told besides its load: the site or the cell it is about, how many rounds."""

    site: Site | None = None
    cell: str = "a"
    rounds: int = 1

    def of(self, drill: Drill) -> dict[str, Any]:
        """Return those parts that `drill` takes, by name.

        >>> from runbooks.drills.catalogue import DRILLS
        >>> Target(Site.IDC, "b").of(DRILLS["primary-crash"])
        {'cell': 'b'}
        """
        plain = {"site": self.site and str(self.site), "cell": self.cell, "rounds": self.rounds}
        return {name: plain[name] for name in drill.takes}


@dataclass(frozen=True, slots=True)
class Plan:
    """A drill that was not begun: its runbook, what stands in its way (empty: it may begin), the command."""

    drill: Drill
    runbook: Runbook
    obstacles: tuple[str, ...]
    command: str

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the runbook's steps in order."""
        return self.runbook.steps

    def to_plain(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "drill": self.drill.name,
            "executed": False,
            "ready": not self.obstacles,
            "obstacles": list(self.obstacles),
            "dangerous": self.drill.dangerous,
            "steps": list(self.steps),
            **{section: self.runbook.sections[section] for section in SECTIONS if section != "Steps"},
            "command": self.command,
        }


async def find_obstacles(home: Path, target: Target) -> list[str]:
    """Return, for people, why a drill could not begin now; DrillRefused without a stand."""
    running = read_running(home)
    if running:
        return [f"{running.drill} is running (process {running.pid}, {running.folder})"]
    found = [
        f"{folder.name} was killed: `biyi drill resume`" for folder in find_interrupted(home / "evidence")
    ]
    viewer = Site.IDC if target.site is None else other_data_site(target.site)
    settings = find_settings(home, viewer)
    if target.cell not in {cell.name for cell in settings.cells}:
        raise DrillRefused(f"no cell {target.cell!r}: there are {', '.join(c.name for c in settings.cells)}")
    try:
        await find_entrances(home)
        async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
            grants = {name: seen.grant for name, seen in (await read_world(etcd)).grants.items()}
    except DrillRefused as refused:
        return [*found, str(refused)]
    except EtcdUnavailable as error:
        return [*found, f"no etcd member answers {viewer}: {error}"]
    alone = [f"cell {name} is {grant.mode}" for name, grant in grants.items() if grant.mode is not Mode.SYNC]
    return [*found, *(find_not_home(settings.cells, grants) or alone)]


def say_command(words: str, options: Mapping[str, Any]) -> str:
    """Return the command that runs a drill with these options, as a person would type it.

    >>> say_command("site-loss", {"site": "idc", "rate": 40.0})
    'biyi drill run site-loss --site idc --rate 40 --execute'
    """
    told = " ".join(
        f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"
        for name, value in options.items()
    )
    return f"biyi drill run {words} {told} --execute".replace("  ", " ")
