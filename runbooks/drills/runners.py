"""How each drill of the catalogue is run: one function a drill, and what it has to show people at its end."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from rich.console import Console

from replication.model import Site
from runbooks.drills.cache_loss import make_cache_loss
from runbooks.drills.certificate_rotation import run_certificate_rotation
from runbooks.drills.channel_loss import run_channel_loss
from runbooks.drills.checkers import Verdict
from runbooks.drills.cloud_burst import make_cloud_burst
from runbooks.drills.day_end_loss import run_day_end_loss
from runbooks.drills.fail_back import make_fail_back
from runbooks.drills.filing_loss import run_filing_loss
from runbooks.drills.grey_release import make_grey_release
from runbooks.drills.key_rotation import run_key_rotation
from runbooks.drills.link_cut import make_link_cut
from runbooks.drills.one_fault import OneFault, run_one_fault
from runbooks.drills.peak_load import make_peak_load
from runbooks.drills.plan import Target
from runbooks.drills.planned_move import run_planned_move
from runbooks.drills.primary_crash import make_primary_crash
from runbooks.drills.restore_drill import make_restore_drill
from runbooks.drills.scene import DrillOptions, DrillRefused, Scene
from runbooks.drills.site_evacuation import make_site_evacuation
from runbooks.drills.site_isolation import make_site_isolation
from runbooks.drills.site_loss import DrillReport, run_site_loss
from runbooks.drills.slot_move import make_slot_move
from runbooks.drills.split_brain import make_split_brain
from runbooks.drills.staff_compromise import make_staff_compromise
from runbooks.drills.tables import (
    print_channel_loss,
    print_key_rotation,
    print_moves,
    print_one_fault,
    print_plain,
    print_rotation,
    print_site_loss,
)
from runbooks.drills.ueba_loss import run_ueba_loss
from runbooks.drills.witness_loss import make_witness_loss
from runbooks.stand.topology import read_stand

Say = Callable[[str], None]
OnScene = Callable[[Scene], None]


@dataclass(frozen=True, slots=True)
class Done:
    """A finished drill: what `--json` prints, and how it is shown to people."""

    plain: Mapping[str, Any]
    show: Callable[[Console], None]

    @property
    def verdict(self) -> Verdict:
        """Return whether it held."""
        return Verdict(self.plain["verdict"])


Runner = Callable[[Target, DrillOptions, Say, OnScene], Coroutine[Any, Any, Done]]
_OfSite = Callable[[Site, DrillOptions, Say, OnScene], Coroutine[Any, Any, DrillReport]]


def _site(target: Target) -> Site:
    if target.site is None:
        raise DrillRefused("which site? --site idc or --site cloud")
    return target.site


def _loses_a_site(run: _OfSite) -> Runner:
    async def runner(target: Target, options: DrillOptions, say: Say, on_scene: OnScene) -> Done:
        report = await run(_site(target), options, say, on_scene)
        return Done(report.plain, lambda console: print_site_loss(console, report.result, report.plain))

    return runner


def _one_fault(make: Callable[[Target, DrillOptions], OneFault]) -> Runner:
    async def runner(target: Target, options: DrillOptions, say: Say, on_scene: OnScene) -> Done:
        result = await run_one_fault(make(target, options), options, say, on_scene)
        return Done(result.plain, lambda console: print_one_fault(console, result))

    return runner


def _of_cell(make: Callable[[str, Site], OneFault]) -> Callable[[Target, DrillOptions], OneFault]:
    """Return what makes a drill about a cell from its name and its home."""

    def made(target: Target, options: DrillOptions) -> OneFault:
        homes = read_stand(options.home).homes
        if target.cell not in homes:
            raise DrillRefused(f"no cell {target.cell!r}: there are {', '.join(sorted(homes))}")
        return make(target.cell, Site(homes[target.cell]))

    return made


async def _planned_move(target: Target, options: DrillOptions, say: Say, on_scene: OnScene) -> Done:
    result = await run_planned_move(options, target.rounds, say, on_scene)
    return Done(result.plain, lambda console: print_moves(console, result))


async def _certificates(_: Target, options: DrillOptions, say: Say, on_scene: OnScene) -> Done:
    result = await run_certificate_rotation(options, say, on_scene)
    return Done(result.plain, lambda console: print_rotation(console, result))


async def _channel_loss(_: Target, options: DrillOptions, say: Say, on_scene: OnScene) -> Done:
    result = await run_channel_loss(options, say, on_scene)
    return Done(result.plain, lambda console: print_channel_loss(console, result))


async def _key_rotation(_: Target, options: DrillOptions, say: Say, on_scene: OnScene) -> Done:
    result = await run_key_rotation(options, say, on_scene)
    return Done(result.plain, lambda console: print_key_rotation(console, result))


async def _ueba_loss(target: Target, options: DrillOptions, say: Say, on_scene: OnScene) -> Done:
    plain = await run_ueba_loss(_site(target), options, say, on_scene)
    return Done(plain, lambda console: print_plain(console, plain))


RUNNERS: Final[Mapping[str, Runner]] = MappingProxyType(
    {
        "site-loss": _loses_a_site(run_site_loss),
        "day-end-loss": _loses_a_site(run_day_end_loss),
        "filing-loss": _loses_a_site(run_filing_loss),
        "site-evacuation": _one_fault(lambda target, _: make_site_evacuation(_site(target))),
        "fail-back": _one_fault(lambda target, _: make_fail_back(_site(target))),
        "split-brain": _one_fault(_of_cell(make_split_brain)),
        "site-isolation": _one_fault(lambda target, _: make_site_isolation(_site(target))),
        "link-cut": _one_fault(lambda _target, _: make_link_cut()),
        "witness-loss": _one_fault(lambda _target, _: make_witness_loss()),
        "peak-load": _one_fault(lambda _target, _: make_peak_load()),
        "primary-crash": _one_fault(_of_cell(make_primary_crash)),
        "cloud-burst": _one_fault(lambda _target, _: make_cloud_burst()),
        "grey-release": _one_fault(lambda _target, _: make_grey_release()),
        "staff-compromise": _one_fault(lambda _, options: make_staff_compromise(options)),
        "cache-loss": _one_fault(lambda target, _: make_cache_loss(_site(target))),
        "restore": _one_fault(lambda target, _: make_restore_drill(target.cell)),
        "planned-move": _planned_move,
        "slot-move": _one_fault(lambda _target, _: make_slot_move()),
        "key-rotation": _key_rotation,
        "certificate-rotation": _certificates,
        "ueba-loss": _ueba_loss,
        "channel-loss": _channel_loss,
    }
)
"""Every drill of the catalogue, by name."""
