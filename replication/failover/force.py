"""When an operator may have a copy promoted that lacks acknowledged commits. Pure.

The one exception to I2 and I6. Replication fences nobody here: a primary that waits for no copy goes on
acknowledging until its own agent or watchdog has ended it. So the primary has to have been silent for
longer than that takes (`force_after_ms`); what it does after all is lost and was in no price.
"""

import enum

from replication.failover.silence import agent_answered, agent_silent_ms
from replication.failover.states import CopyState, Seen, Stream
from replication.model import CopyId, Mode
from replication.settings import FailoverSettings


class Objection(enum.StrEnum):
    """Why a forced promotion is refused."""

    ETCD_SILENT = "etcd_silent"
    NO_GRANT = "no_grant"
    IS_PRIMARY = "is_primary"
    NOT_A_STANDBY = "not_a_standby"
    PRIMARY_VISIBLE = "primary_visible"
    PRIMARY_NOT_SILENT_LONG_ENOUGH = "primary_not_silent_long_enough"
    SAFE_TAKE_OVER_POSSIBLE = "safe_take_over_possible"
    TAKE_OVER_UNDER_WAY = "take_over_under_way"
    BETTER_COPY = "better_copy"


def is_forced(seen: Seen, limits: FailoverSettings) -> bool:
    """Say whether the operator's wish holds for this very grant and nothing speaks against it."""
    asked = seen.force is not None and seen.grant is not None and seen.force.revision == seen.grant.revision
    return asked and find_objection(seen, limits) is None


def find_objection(seen: Seen, limits: FailoverSettings) -> Objection | None:
    """Return what speaks against promoting the own copy at a loss; None: only the loss does."""
    if not seen.read_ok or seen.confirmed_age_ms >= limits.fence_after_ms:
        return Objection.ETCD_SILENT
    if seen.grant is None:
        return Objection.NO_GRANT
    grant, own = seen.grant.grant, seen.own
    if own.copy is not None and own.copy in (grant.primary, grant.candidate):
        return Objection.IS_PRIMARY
    if _may_live(seen, grant.primary, limits.silence_ms) or own.stream is Stream.ALIVE:
        return Objection.PRIMARY_VISIBLE
    if _may_live(seen, grant.primary, limits.force_after_ms):
        return Objection.PRIMARY_NOT_SILENT_LONG_ENOUGH
    failed = {grant.candidate} if grant.mode is Mode.TAKING else set()
    if any(_may_live(seen, member, limits.silence_ms) for member in grant.sync_set - failed):
        return Objection.SAFE_TAKE_OVER_POSSIBLE
    if grant.candidate is not None and _may_live(seen, grant.candidate, limits.silence_ms):
        return Objection.TAKE_OVER_UNDER_WAY
    if own.state is not CopyState.STANDBY:
        return Objection.NOT_A_STANDBY
    return None


def _may_live(seen: Seen, copy: CopyId, silence_ms: int) -> bool:
    """A copy may live unless its agent says no, or was silent for long and answers no probe."""
    if str(copy) in seen.declared_down:
        return False
    return agent_silent_ms(seen, copy) < silence_ms or agent_answered(seen, copy) is True
