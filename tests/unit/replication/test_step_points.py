"""The points at which the real agents are ended (tests/integration/failover) are all the points there are."""

from replication.failover.act import Actor
from replication.failover.loop import CopyRound
from replication.simulator.schedule import run_schedule
from replication.simulator.server import SimServer
from tests.integration.failover.crash_points import BOOTSTRAP, WAYS
from tests.integration.failover.ending import watch_effects

SCHEDULES = 150
NOT_OF_TWO_COPIES = {("follow", "follow")}
"""A stand of two copies has no bystander to point elsewhere."""
RARE = {("abandon_move", "swap")}
"""A move whose target falls silent within the drain: the simulator's own test reaches it."""
NAMES_OF_AN_EARLIER_LIFE = {("finish_taking", "set_sync_names")}
"""A standby has no sync names to drop: only one that had begun to write before has (the simulator's)."""
SAME_CODE = (
    {("rewind", call) for call in ("stop_clean", "rewind", "start")}
    | {("rejoin", "start")}
    | {("finish_shut", call) for call in ("write_marker", "swap", "set_sync_names")}
)
"""REWIND is the inner part of REJOIN, FINISH_SHUT that of FINISH_TAKING: the stand reaches them there."""


def test_every_effect_of_every_step_has_its_point():
    seen: set[tuple[str, str]] = set()

    def watch(_: CopyRound, actor: Actor, server: SimServer) -> None:
        watch_effects(actor, server, lambda step, call, when: seen.add((step, call)))

    for seed in range(SCHEDULES):
        assert run_schedule(seed, break_rule=watch).found is None
    pointed = {(way.step, call) for way in WAYS for call in way.calls} | {(p.step, p.call) for p in BOOTSTRAP}
    outside = {(step, call) for step, call in seen if step == ""}
    assert seen - pointed - NOT_OF_TWO_COPIES - RARE - NAMES_OF_AN_EARLIER_LIFE - SAME_CODE - outside == set()
    assert pointed - seen == set()
