"""The injectors: what each one does, what must hold, how it heals, and what it does to the stand as a value.

An effect says what is down, which links are in which state, which processes are stopped or killed.
`ground.py` carries effects out, so that overlapping faults add up and heal in any order.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runbooks.faults.model import Aim, FaultPlan, Spot
from runbooks.stand.links import LinkMode, LinkState, LinkTable, links_of_site

CUT, HOLE = LinkState(LinkMode.CUT), LinkState(LinkMode.HOLE)
_SERVES = "the cell goes on or comes back by itself; nothing acknowledged is lost"
_TAKES = "the other site takes over if it is in the sync set; nothing acknowledged is lost"
_ONE_WRITER = "one epoch acknowledges; nothing acknowledged is lost"


class Victims(enum.StrEnum):
    """Which of a copy's PostgreSQL processes a signal is for."""

    POSTMASTER = "postmaster"
    BACKEND = "backend"
    WALSENDER = "walsender"
    CHECKPOINTER = "checkpointer"
    WALWRITER = "walwriter"
    WALRECEIVER = "walreceiver"
    STARTUP = "startup"
    TREE = "tree"
    """The postmaster and everything under it."""


class Ask(enum.StrEnum):
    """What is asked of an agent as an operator would."""

    MOVE = "move"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a fault does to the stand while it lasts. Programs are (site, program)."""

    down: frozenset[tuple[str, str]] = frozenset()
    """Killed at the beginning, kept down until the end."""
    lost_site: str = ""
    """Every process of this site is killed, whatever its name."""
    links: LinkTable = field(default_factory=dict)
    rhythm: tuple[tuple[float, LinkTable], ...] = ()
    """Link states in turn, each for so many seconds, over and over."""
    stopped: frozenset[tuple[str, str]] = frozenset()
    """Stopped (SIGSTOP) with all they started, continued at the end."""
    victims: Victims | None = None
    kill: bool = False
    """Whether the victims are killed; else they are stopped and continued at the end."""
    ask: Ask | None = None
    lose_copy: bool = False
    """The copy's directory is taken away, if that cannot be the last one with everything."""


@dataclass(frozen=True, slots=True)
class Injector:
    """One kind of fault. Durations are drawn log-uniformly between `least_s` and `most_s`."""

    name: str
    aim: Aim
    least_s: float
    most_s: float
    weight: float
    does: str
    must_hold: str
    heals: str
    effect: Callable[[FaultPlan, Spot], Effect]


DATA_PROGRAMS = (
    "border", "etcd", "valkey", "agent", "api", "projector", "payer", "notary", "watcher", "console",
)  # fmt: skip
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "idc": DATA_PROGRAMS, "cloud": DATA_PROGRAMS, "witness": ("border", "etcd"),
}  # fmt: skip


def of_site(site: str, *but: str) -> frozenset[tuple[str, str]]:
    """Return all programs of a site except some."""
    return frozenset((site, program) for program in PROGRAMS[site] if program not in but)


def both_ways(pair: str, state: LinkState) -> LinkTable:
    """Return both directions between the two sites of `idc-cloud` in one state."""
    one, other = pair.split("-")
    return {f"{one}>{other}": state, f"{other}>{one}": state}


def _lost(site: str, *, silent: bool) -> Effect:
    links = dict.fromkeys(links_of_site(site), HOLE) if silent else {}
    return Effect(down=of_site(site), lost_site=site, links=links)


def _slow(plan: FaultPlan, _: Spot) -> Effect:
    """Jitter: a delay between a quarter and the whole of up to 400 ms, another one every 0.3 s."""
    most_ms = 40 + int(plan.pick * 360)
    steps = (most_ms, most_ms // 4, most_ms // 2, most_ms // 3)
    return Effect(rhythm=tuple((0.3, both_ways(plan.target, LinkState(delay_ms=ms))) for ms in steps))


def _flap(plan: FaultPlan, _: Spot) -> Effect:
    period_s = 0.15 + plan.pick * 0.85
    return Effect(rhythm=((period_s, both_ways(plan.target, CUT)), (period_s, {})))


def _quorum(plan: FaultPlan, _: Spot) -> Effect:
    kept = ("idc", "cloud", "witness", "")[int(plan.pick * 4)]
    return Effect(down=frozenset((site, "etcd") for site in PROGRAMS if site != kept))


def _signal(victims: Victims, *, kill: bool) -> Callable[[FaultPlan, Spot], Effect]:
    return lambda plan, spot: Effect(victims=victims, kill=kill)


def _down(program: str) -> Callable[[FaultPlan, Spot], Effect]:
    return lambda plan, spot: Effect(down=frozenset({(spot.site, program)}))


def _stop(program: str) -> Callable[[FaultPlan, Spot], Effect]:
    return lambda plan, spot: Effect(stopped=frozenset({(spot.site, program)}))


def _both(state: LinkState) -> Callable[[FaultPlan, Spot], Effect]:
    return lambda plan, spot: Effect(links=both_ways(plan.target, state))


_ALL = (
    Injector("site-kill", Aim.DATA_SITE, 1.0, 10.0, 3, "SIGKILL to every process of a site",
        _TAKES, "its processes are started", lambda plan, spot: _lost(spot.site, silent=False)),
    Injector("site-kill-silent", Aim.DATA_SITE, 1.0, 10.0, 3,
        "silence on a site's links, then SIGKILL to every process: a power loss", _TAKES,
        "links healed, its processes are started", lambda plan, spot: _lost(spot.site, silent=True)),
    Injector("site-freeze", Aim.DATA_SITE, 0.1, 12.0, 3,
        "SIGSTOP to everything of a site but its border: a paused or migrated machine", _TAKES, "SIGCONT",
        lambda plan, spot: Effect(stopped=of_site(spot.site, "border"), victims=Victims.TREE)),
    Injector("agent-kill", Aim.DATA_SITE, 0.3, 9.0, 4, "SIGKILL to a site's agent; its PostgreSQL lives on",
        _ONE_WRITER, "the agent is started", _down("agent")),
    Injector("agent-stop", Aim.DATA_SITE, 0.1, 30.0, 5, "SIGSTOP to a site's agent", _ONE_WRITER, "SIGCONT",
        lambda plan, spot: Effect(stopped=frozenset({(spot.site, "agent/alone")}))),
    Injector("postmaster-kill", Aim.SERVER, 0.1, 0.5, 5, "SIGKILL to a postmaster", _SERVES, "by its agent",
        _signal(Victims.POSTMASTER, kill=True)),
    Injector("postmaster-stop", Aim.SERVER, 0.1, 10.0, 4, "SIGSTOP to a postmaster", _SERVES, "SIGCONT",
        _signal(Victims.POSTMASTER, kill=False)),
    Injector("backend-kill", Aim.PRIMARY, 0.1, 0.5, 5, "SIGKILL to one of the core's sessions", _SERVES,
        "by its agent: the whole server goes down with it", _signal(Victims.BACKEND, kill=True)),
    Injector("backend-stop", Aim.PRIMARY, 0.1, 8.0, 5, "SIGSTOP to one of the core's sessions", _SERVES,
        "SIGCONT", _signal(Victims.BACKEND, kill=False)),
    Injector("walsender-stop", Aim.PRIMARY, 0.1, 6.0, 5, "SIGSTOP to a WAL sender", _SERVES, "SIGCONT",
        _signal(Victims.WALSENDER, kill=False)),
    Injector("walreceiver-stop", Aim.COPY, 0.1, 6.0, 4, "SIGSTOP to a copy's WAL receiver", _SERVES,
        "SIGCONT", _signal(Victims.WALRECEIVER, kill=False)),
    Injector("startup-stop", Aim.COPY, 0.1, 6.0, 3, "SIGSTOP to a copy's replay", _SERVES, "SIGCONT",
        _signal(Victims.STARTUP, kill=False)),
    Injector("checkpointer-stop", Aim.SERVER, 0.1, 10.0, 4, "SIGSTOP to a checkpointer", _SERVES, "SIGCONT",
        _signal(Victims.CHECKPOINTER, kill=False)),
    Injector("walwriter-stop", Aim.PRIMARY, 0.1, 10.0, 2, "SIGSTOP to the WAL writer", _SERVES, "SIGCONT",
        _signal(Victims.WALWRITER, kill=False)),
    Injector("server-freeze", Aim.SERVER, 0.1, 10.0, 4, "SIGSTOP to a whole PostgreSQL server",
        _ONE_WRITER, "SIGCONT", _signal(Victims.TREE, kill=False)),
    Injector("copy-lost", Aim.COPY, 0.1, 0.5, 2,
        "a copy's server is killed and its directory taken away; never the last one with everything",
        _SERVES, "by its agent: a new clone joins", lambda plan, spot: Effect(lose_copy=True)),
    Injector("link-cut", Aim.PAIR, 0.1, 8.0, 5, "resets and refuses every connection between two sites",
        "a link cut is no death: the primary stays and goes on alone", "healed", _both(CUT)),
    Injector("link-hole", Aim.PAIR, 0.1, 8.0, 5, "swallows everything between two sites in silence",
        "a link cut is no death: the primary stays and goes on alone", "healed", _both(HOLE)),
    Injector("one-way-hole", Aim.LINK, 0.1, 8.0, 5, "swallows everything in one direction", _ONE_WRITER,
        "healed", lambda plan, spot: Effect(links={plan.target: HOLE})),
    Injector("link-slow", Aim.PAIR, 0.5, 8.0, 4, "delays every byte between two sites by 10 to 400 ms",
        _SERVES, "healed", _slow),
    Injector("link-flap", Aim.PAIR, 0.6, 6.0, 3, "cuts and heals a pair of sites in turn", _SERVES, "healed",
        _flap),
    Injector("witness-cut", Aim.DATA_SITE, 0.2, 8.0, 3, "silence between the witness and one data site",
        "the cells go on", "healed",
        lambda plan, spot: Effect(links=both_ways(f"{spot.site}-witness", HOLE))),
    Injector("witness-kill", Aim.WITNESS, 0.5, 8.0, 3, "SIGKILL to every process of the witness",
        "the cells go on", "its processes are started", lambda plan, spot: _lost("witness", silent=True)),
    Injector("etcd-member-kill", Aim.SITE, 0.3, 6.0, 4, "SIGKILL to one etcd member", "the cells go on",
        "the member is started", _down("etcd")),
    Injector("etcd-quorum-loss", Aim.ALL, 0.3, 8.0, 2, "SIGKILL to two or all three etcd members",
        "cells may stop after fence_after; nothing acknowledged is lost", "the members are started", _quorum),
    Injector("isolate-primary", Aim.PRIMARY, 0.5, 10.0, 5,
        "silence around the whole site of a cell's primary, which runs on", _ONE_WRITER, "healed",
        lambda plan, spot: Effect(links=dict.fromkeys(links_of_site(spot.site), HOLE))),
    Injector("api-kill", Aim.DATA_SITE, 0.1, 5.0, 3, "SIGKILL to a site's entrance",
        "customers are served at the other entrance", "the entrance is started", _down("api")),
    Injector("api-stop", Aim.DATA_SITE, 0.1, 8.0, 3, "SIGSTOP to a site's entrance, transactions open",
        "the server ends what the entrance holds", "SIGCONT", _stop("api")),
    Injector("router-cut", Aim.ALL, 0.02, 0.2, 4, "resets every connection between the data sites, once",
        "no request fails", "at once", lambda plan, spot: Effect(links=both_ways("idc-cloud", CUT))),
    Injector("valkey-kill", Aim.DATA_SITE, 0.1, 5.0, 1, "SIGKILL to a site's cache", "the cells go on",
        "the cache is started", _down("valkey")),
    Injector("projector-kill", Aim.DATA_SITE, 0.1, 5.0, 1, "SIGKILL to a site's projector", "the cells go on",
        "the projector is started", _down("projector")),
    Injector("planned-move", Aim.CELL, 0.5, 4.0, 5, "asks for a cell to be moved to the other site",
        "no request fails when nothing else is broken", "nothing to heal",
        lambda plan, spot: Effect(ask=Ask.MOVE)),
    Injector("hold", Aim.ALL, 0.5, 8.0, 2, "keeps cells from going home", "the cells go on", "released",
        lambda plan, spot: Effect(ask=Ask.HOLD)),
)  # fmt: skip

INJECTORS: Mapping[str, Injector] = {injector.name: injector for injector in _ALL}


def list_injectors() -> list[dict[str, object]]:
    """Return the catalogue as plain values, for `--json`."""
    return [
        {"name": i.name, "target": str(i.aim), "seconds": [i.least_s, i.most_s], "does": i.does,
         "must_hold": i.must_hold, "heals": i.heals}
        for i in _ALL
    ]  # fmt: skip
