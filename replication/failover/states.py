"""What one look at the world yields and what may be decided, as values. No I/O, no clock.

`Seen` is the snapshot of one tick of one copy's loop; `Decision` its one next step with the reason.
Durations are milliseconds on the observer's monotonic clock, LSNs are bytes of WAL.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from replication.model import CopyId, Degrade, Grant, GrantSeen, Site, WithoutEtcd
from replication.snapshot import snapshot


class CopyState(enum.StrEnum):
    """The own directory and its server, as far as this tick could tell."""

    ABSENT = "absent"
    """No directory."""
    BROKEN = "broken"
    """A directory that a failed rewind left behind: never started again."""
    STOPPED = "stopped"
    MUTE = "mute"
    """A server process that does not answer."""
    STANDBY = "standby"
    PRIMARY = "primary"


class Stream(enum.StrEnum):
    """The own WAL stream from the primary."""

    ALIVE = "alive"
    SILENT = "silent"
    """Connected, but nothing came for as long as a site may be silent."""
    GONE = "gone"


@snapshot(frozen=True, slots=True)
class FollowerSeen:
    """A copy that streams from the own primary."""

    copy: CopyId
    streaming: bool
    flush_lsn: int


@snapshot(frozen=True, slots=True)
class OwnCopy:
    """The copy this loop looks after."""

    place: str
    site: Site
    state: CopyState
    copy: CopyId | None = None
    was_primary: bool = False
    """Stopped or mute, and the directory would start as a primary."""
    clean: bool = False
    """Stopped by a clean shutdown."""
    open: bool = False
    """Clients are let in."""
    timeline: int = 0
    wal_flush_lsn: int = 0
    received_lsn: int = 0
    """A standby's end of WAL: what it has received, or has replayed since it started."""
    barrier_lsn: int | None = None
    """End of WAL when this server started: the sync set must have it before clients see it (I5)."""
    epoch_marker: int | None = None
    """Epoch written in the database itself; None when never written or not readable."""
    sync_names: frozenset[CopyId] = frozenset()
    """Copies that PostgreSQL waits for."""
    followers: tuple[FollowerSeen, ...] = ()
    stream: Stream = Stream.GONE
    upstream: str | None = None
    """Place the own stream is pointed at."""
    mute_for_ms: int = 0
    stuck_for_ms: int = 0
    """The stream has been gone this long although the primary's agent is alive."""
    door_shut_for_ms: int = 0
    """A primary has let no new client knock for this long, though its old connections may work."""
    disk_stalled_for_ms: int = 0
    """A primary has got no WAL onto its disk for this long although asked; goes on when it is stopped so."""
    disk_full: bool = False
    """So little is left that a server may end at its next new WAL segment."""


@dataclass(frozen=True, slots=True)
class ForceAsked:
    """An operator accepts a loss: this copy shall take the cell over although it lacks commits.

    Holds for the grant of `revision` only. `by` is who asked; the rest is the price as it was shown
    (`replication.failover.price`), None where it could not be known.
    """

    revision: int
    by: str
    token: str = ""
    gap_bytes: int | None = None
    commits: int | None = None
    moved_fen: int | None = None


@snapshot(frozen=True, slots=True)
class Seen:
    """One snapshot: the shared world, the peers, the own copy."""

    cell: str
    home: Site
    own: OwnCopy
    read_ok: bool
    """Etcd answered this tick; otherwise the shared fields below are the last known ones."""
    grant: GrantSeen | None
    confirmed_age_ms: int = 0
    """Age of the request whose answer last showed the grant."""
    silent_for_ms: Mapping[Site, int] = field(default_factory=dict)
    """How long successful reads have shown no new beat of any agent of each data site."""
    agent_silent_for_ms: Mapping[str, int] = field(default_factory=dict)
    """The same of the agent of each of the cell's copies that another agent looks after, by place."""
    probe_answered: bool | None = None
    """Whether an agent at the other data site answered a direct question; None: not asked of late."""
    agent_answered: Mapping[str, bool | None] = field(default_factory=dict)
    """The same of the agent of each of the cell's copies that another agent looks after, by place."""
    declared_down: frozenset[str] = frozenset()
    """Copies their own agents say they cannot get running."""
    disk_full: frozenset[str] = frozenset()
    """Copies whose own agents say that their disk is full."""
    sync_silent_for_ms: Mapping[CopyId, int] = field(default_factory=dict)
    """For each copy in the sync set, the sync names or the followers: time since it last acknowledged."""
    home_in_sync_for_ms: int = 0
    hold: bool = False
    other_cell_moving: bool = False
    move_to: Site | None = None
    """What the operator asked for."""
    force: ForceAsked | None = None
    holders: frozenset[str] | None = None
    """Places of this cell that hold data, if fresh beats tell of all of its places; None: not known."""
    peer_waits_for_ms: int = 0
    """For how long the agents of all the cell's other copies, without etcd too, have promised to take
    nothing over."""
    promised_for_ms: int = 0
    """For how long this agent has promised that to another one."""
    born: bool = False
    """The cell once had a grant."""
    degrade: Degrade = "after"
    degrade_after_ms: int | None = None
    """The cell's own limit; None: that of the site."""
    without_etcd: WithoutEtcd = "stop"


class Step(enum.StrEnum):
    """The effect to carry out; each is idempotent and fenced by the grant's revision."""

    HOLD = "hold"
    STOP_HARD = "stop_hard"
    INITIALISE = "initialise"
    CREATE_GRANT = "create_grant"
    START_PRIMARY = "start_primary"
    START_STANDBY = "start_standby"
    CLONE = "clone"
    REWIND = "rewind"
    REJOIN = "rejoin"
    FOLLOW = "follow"
    TAKE = "take"
    PROMOTE = "promote"
    FINISH_TAKING = "finish_taking"
    """Hold the grant and let clients in."""
    FINISH_SHUT = "finish_shut"
    """Hold the grant; clients wait for a sync copy."""
    MARK_EPOCH = "mark_epoch"
    OPEN = "open"
    SET_NAMES = "set_names"
    JOIN = "join"
    LEAVE = "leave"
    BEGIN_MOVE = "begin_move"
    DRAIN_AND_STOP = "drain_and_stop"
    HAND_OVER = "hand_over"
    ABANDON_MOVE = "abandon_move"


class Why(enum.StrEnum):
    """The reason of a decision, also for holding still."""

    ETCD_SILENT = "etcd_silent"
    KEPT_BY_PEER = "kept_by_peer"
    GRANT_UNCONFIRMED = "grant_unconfirmed"
    NO_GRANT_YET = "no_grant_yet"
    GRANT_LOST = "grant_lost"
    EMPTINESS_NOT_PROVEN = "emptiness_not_proven"
    BOOTSTRAP = "bootstrap"
    SUPERSEDED = "superseded"
    GRANTED = "granted"
    SERVER_MUTE = "server_mute"
    SERVER_STARTING = "server_starting"
    DISK_STALLED = "disk_stalled"
    DISK_FULL = "disk_full"
    EPOCH_NOT_MARKED = "epoch_not_marked"
    SYNC_SET_SILENT = "sync_set_silent"
    SYNC_SITE_SILENT = "sync_site_silent"
    SYNC_AGENT_SILENT = "sync_agent_silent"
    BETTER_COPY_IN_SYNC = "better_copy_in_sync"
    BLOCKED_WITHOUT_COPY = "blocked_without_copy"
    WAITING_FOR_SYNC_SET = "waiting_for_sync_set"
    SYNC_SET_HAS_EVERYTHING = "sync_set_has_everything"
    NAMES_BEHIND_GRANT = "names_behind_grant"
    COPY_CAUGHT_UP = "copy_caught_up"
    COPY_NAMED = "copy_named"
    GOING_HOME = "going_home"
    OPERATOR_ASKED = "operator_asked"
    MOVE_TARGET_NOT_IN_SYNC = "move_target_not_in_sync"
    MOVING = "moving"
    MOVE_TARGET_SILENT = "move_target_silent"
    SERVING = "serving"
    PRIMARY_SITE_SILENT = "primary_site_silent"
    PRIMARY_AGENT_SILENT = "primary_agent_silent"
    PRIMARY_DECLARED_DOWN = "primary_declared_down"
    CANDIDATE_FAILED = "candidate_failed"
    SILENT_BUT_STREAM_ALIVE = "silent_but_stream_alive"
    PROMISED_TO_WAIT = "promised_to_wait"
    ALONE_NEVER_PROMOTES = "alone_never_promotes"
    NOT_IN_SYNC_SET = "not_in_sync_set"
    FORCED_BY_OPERATOR = "forced_by_operator"
    CANDIDATE = "candidate"
    OTHER_CANDIDATE = "other_candidate"
    WAITING_FOR_PRIMARY = "waiting_for_primary"
    NO_DIRECTORY = "no_directory"
    DIRECTORY_BROKEN = "directory_broken"
    WAS_PRIMARY = "was_primary"
    STREAM_STUCK = "stream_stuck"
    OTHER_PRIMARY = "other_primary"
    FOLLOWING = "following"


@snapshot(frozen=True, slots=True)
class Decision:
    """This copy's one next step.

    `next_grant` is what a swapping step writes (compare-and-swap on `revision`); `names` what
    PostgreSQL shall wait for; `copy` whom the step is about (upstream, joining copy, target).
    """

    step: Step
    why: Why
    epoch: int = 0
    revision: int = 0
    next_grant: Grant | None = None
    names: frozenset[CopyId] | None = None
    copy: CopyId | None = None
