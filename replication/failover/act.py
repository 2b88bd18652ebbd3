"""Carry out one decision. Every effect is idempotent and fenced by the grant's revision.

The only place that changes a grant. A step that ends UNKNOWN is never repeated blindly: the next
look sees what became of it, and a swap is settled by another swap on what was then read (I3).
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime

import psycopg

from replication.etcd import Outcome
from replication.failover.ports import CopyJournal, CopyServer
from replication.failover.states import Decision, Seen, Step, Why
from replication.grant_swap import Register, swap_grant
from replication.model import CopyId, format_lsn
from replication.postgres.copy import PostgresError
from replication.settings import PlaceSettings, SiteSettings

Effect = Callable[[Seen, Decision], Awaitable[Outcome]]
MARKER_SECONDS = 1.0
"""Patience with a marker's commit, and then with its flush on a joining copy. Source: our choice, the
copy's status interval."""
STOP_SECONDS = 20.0
"""Patience with a clean stop before it becomes a hard one. Source: our choice; a small cell takes 0.2 s."""
PROMOTE_SECONDS = 30.0
"""Patience with a promotion. Source: our choice; measured 0.13-0.23 s."""


def utc_now() -> str:
    """Return the wall clock for people (ISO 8601); no decision reads it."""
    return datetime.now(UTC).isoformat()  # noqa: TID251  for people only, no decision reads it


class Actor:
    """Carries out decisions about one copy."""

    def __init__(
        self,
        settings: SiteSettings,
        server: CopyServer,
        etcd: Register,
        journal: CopyJournal,
        *,
        stamp: Callable[[], str] = utc_now,
    ) -> None:
        self._settings = settings
        self._server = server
        self.register = etcd
        self._journal = journal
        self._stamp = stamp
        self.effects = self._all_effects()
        """One effect a step; the simulator breaks one of them to see that its rules bite."""

    async def carry_out(self, seen: Seen, decision: Decision) -> Outcome:
        """Do what was decided; UNKNOWN when it cannot be told, REFUSED when the world said no."""
        try:
            return await self.effects[decision.step](seen, decision)
        except (PostgresError, psycopg.Error, TimeoutError, OSError) as error:
            self._journal.stage("failed", decision.epoch, step=decision.step, error=str(error)[:500])
            return Outcome.UNKNOWN

    def _all_effects(self) -> dict[Step, Effect]:
        return {
            Step.STOP_HARD: self._stop_hard,
            Step.INITIALISE: self._initialise,
            Step.CREATE_GRANT: self._create_grant,
            Step.START_PRIMARY: self._start_primary,
            Step.START_STANDBY: self._start_standby,
            Step.CLONE: self._clone,
            Step.REWIND: self._rewind,
            Step.REJOIN: self._rejoin,
            Step.FOLLOW: self._follow,
            Step.TAKE: self._take,
            Step.PROMOTE: self._promote,
            Step.FINISH_TAKING: self._finish_taking,
            Step.FINISH_SHUT: self._finish_shut,
            Step.MARK_EPOCH: self._mark_epoch,
            Step.OPEN: self._open,
            Step.SET_NAMES: self._set_names,
            Step.JOIN: self._join,
            Step.LEAVE: self._leave,
            Step.BEGIN_MOVE: self._begin_move,
            Step.DRAIN_AND_STOP: self._drain_and_stop,
            Step.HAND_OVER: self._hand_over,
            Step.ABANDON_MOVE: self._swap,
        }

    async def _swap(self, seen: Seen, decision: Decision) -> Outcome:
        if decision.next_grant is None:
            raise ValueError(f"{decision.step} decided without a next grant")
        grant = replace(
            decision.next_grant,
            why=decision.why,
            by=str(seen.own.copy),
            at=self._stamp(),
        )
        outcome = await swap_grant(self.register, grant, decision.revision)
        if outcome is not Outcome.DONE:
            self._journal.stage("swap_" + outcome.value, decision.epoch, step=decision.step)
        return outcome

    async def _stop_hard(self, seen: Seen, decision: Decision) -> Outcome:
        """Ended first: writing a file may hang on a stalled disk, and every start writes the fence anew."""
        await self._server.release()
        await self._server.kill_hard()
        self._server.write_fenced()
        self._journal.stage("fenced", decision.epoch, why=decision.why)
        return Outcome.DONE

    async def _initialise(self, seen: Seen, decision: Decision) -> Outcome:
        own_id = self._server.new_copy_id()
        await self._server.initialise(own_id)
        self._journal.stage("initialised", 0, copy=str(own_id))
        return Outcome.DONE

    async def _create_grant(self, seen: Seen, decision: Decision) -> Outcome:
        await self._server.create_roles_and_database()
        return await self._swap(seen, decision)

    async def _start_primary(self, seen: Seen, decision: Decision) -> Outcome:
        self._server.write_fenced()
        await self._server.start()
        self._journal.stage("started_fenced", decision.epoch)
        return Outcome.DONE

    async def _start_standby(self, seen: Seen, decision: Decision) -> Outcome:
        upstream = self._settings.place(decision.copy.place) if decision.copy else None
        await self._server.become_standby(upstream, _known(seen.own.copy))
        await self._server.start()
        self._journal.stage("following", decision.epoch, upstream=upstream.name if upstream else None)
        return Outcome.DONE

    async def _clone(self, seen: Seen, decision: Decision) -> Outcome:
        own_id = self._server.new_copy_id()
        await self._server.clone(self._upstream(decision), own_id)
        await self._server.start()
        self._journal.stage("cloned", decision.epoch, copy=str(own_id))
        return Outcome.DONE

    async def _rewind(self, seen: Seen, decision: Decision) -> Outcome:
        """Make the directory follow again; what cannot be rewound is marked and then cloned.

        The upstream is asked before the own server is stopped: behind a cut link a copy that follows
        nobody still serves readers, and would be stopped and started again at every look.
        """
        upstream = self._upstream(decision)
        await self._server.ask_upstream(upstream)
        await self._server.release()
        await self._server.stop_clean(STOP_SECONDS)
        own_id = self._server.new_copy_id()
        await self._server.rewind(upstream, own_id)
        await self._server.start()
        self._journal.stage("rewound", decision.epoch, copy=str(own_id))
        return Outcome.DONE

    async def _rejoin(self, seen: Seen, decision: Decision) -> Outcome:
        """A former primary follows as it is only where its history is wholly the new one's."""
        upstream = self._upstream(decision)
        if not await self._server.can_follow_directly(upstream):
            return await self._rewind(seen, decision)
        await self._server.become_standby(upstream, _known(seen.own.copy))
        await self._server.start()
        self._journal.stage("following", decision.epoch, upstream=upstream.name)
        return Outcome.DONE

    async def _follow(self, seen: Seen, decision: Decision) -> Outcome:
        upstream = self._upstream(decision)
        await self._server.follow(upstream, _known(seen.own.copy))
        self._journal.stage("following", decision.epoch, upstream=upstream.name)
        return Outcome.DONE

    async def _take(self, seen: Seen, decision: Decision) -> Outcome:
        self._journal.stage("suspect", decision.epoch, why=decision.why)
        if decision.why is Why.FORCED_BY_OPERATOR and seen.force is not None:
            asked = {name: _shown(value) for name, value in asdict(seen.force).items()}
            self._journal.stage("forced", decision.epoch + 1, **asked)
        outcome = await self._swap(seen, decision)
        if outcome is Outcome.DONE:
            self._journal.stage("grant_taking", decision.epoch + 1)
        return outcome

    async def _promote(self, seen: Seen, decision: Decision) -> Outcome:
        """No stream may feed or acknowledge anything once the end of WAL is looked at (pitfall 18)."""
        await self._server.stop_receiver(_known(seen.own.copy))
        self._journal.stage("receiver_stopped", decision.epoch)
        reserved = seen.grant.grant.reserved_timeline if seen.grant else 0
        timeline = await self._server.promote(reserved, PROMOTE_SECONDS)
        self._journal.stage("promoted", decision.epoch, timeline=timeline)
        return Outcome.DONE

    async def _finish_taking(self, seen: Seen, decision: Decision) -> Outcome:
        outcome = await self._finish_shut(seen, decision)
        if outcome is Outcome.DONE:
            await self._server.open_to_clients()
            self._journal.stage("opened", decision.epoch)
        return outcome

    async def _finish_shut(self, seen: Seen, decision: Decision) -> Outcome:
        lsn = await self._write_marker(decision.epoch, _known(seen.own.copy))
        next_grant = decision.next_grant
        if next_grant is None:
            raise ValueError("finish_taking decided without a next grant")
        marked = replace(decision, next_grant=replace(next_grant, lsn_marker=format_lsn(lsn)))
        outcome = await self._swap(seen, marked)
        if outcome is Outcome.DONE:
            # This swap of our own left every other copy out: names of an earlier life may go (I3). A
            # standby has none, and a reload that changes nothing would cost customers 30 ms.
            if seen.own.sync_names:
                await self._server.set_sync_names(frozenset())
            self._journal.stage("grant_primary", decision.epoch)
        return outcome

    async def _mark_epoch(self, seen: Seen, decision: Decision) -> Outcome:
        await self._write_marker(decision.epoch, _known(seen.own.copy))
        return Outcome.DONE

    async def _open(self, seen: Seen, decision: Decision) -> Outcome:
        await self._server.open_to_clients()
        self._journal.stage("opened", decision.epoch)
        return Outcome.DONE

    async def _set_names(self, seen: Seen, decision: Decision) -> Outcome:
        """Only ever adds names; `_leave` alone takes any away."""
        names = _named(decision) | seen.own.sync_names
        await self._server.set_sync_names(names)
        return Outcome.DONE

    async def _join(self, seen: Seen, decision: Decision) -> Outcome:
        """Prove that commits wait for the copy too, see a marker flushed there, then grant (pitfall 5).

        The names are set once more: a SET_NAMES that failed half-way shows them in every session, and
        nothing shows that commits do not yet wait for them (found by the simulator). Whoever has the
        marker has every commit begun before; the marker itself waits for nobody, since another copy of
        the sync set may be silent: this one then comes in before that one leaves.
        """
        joining = _known(decision.copy)
        await self._server.set_sync_names(seen.own.sync_names | {joining})
        lsn = await self._write_marker(decision.epoch, _known(seen.own.copy))
        if not await self._server.wait_flushed(joining, lsn, MARKER_SECONDS):
            return Outcome.REFUSED
        outcome = await self._swap(seen, decision)
        if outcome is Outcome.DONE:
            self._journal.stage("joined", decision.epoch, copy=str(joining))
        return outcome

    async def _leave(self, seen: Seen, decision: Decision) -> Outcome:
        """Release waiters by the names, never by cancelling them, and only after the own confirmed swap."""
        outcome = await self._swap(seen, decision)
        if outcome is Outcome.DONE:
            await self._server.set_sync_names(_named(decision))
            self._journal.stage("degraded", decision.epoch)
        return outcome

    async def _begin_move(self, seen: Seen, decision: Decision) -> Outcome:
        """Checkpoints beforehand keep the one at shutdown short: clients wait only for that one.

        The first writes what has gathered since the last one, which takes long enough for much to gather
        again; the second is short.
        """
        await self._server.checkpoint()
        await self._server.checkpoint()
        outcome = await self._swap(seen, decision)
        if outcome is Outcome.DONE:
            self._journal.stage("move_begin", decision.epoch, to=decision.copy and str(decision.copy))
        return outcome

    async def _drain_and_stop(self, seen: Seen, decision: Decision) -> Outcome:
        """Routers gate new transactions while the grant says MOVING; running ones are let end."""
        await self._server.wait_until_idle(self._settings.failover.drain_ms / 1000)
        self._journal.stage("drained", decision.epoch)
        await self._server.fence()
        await self._server.release()
        await self._server.stop_clean(STOP_SECONDS)
        self._journal.stage("stopped", decision.epoch)
        return Outcome.DONE

    async def _hand_over(self, seen: Seen, decision: Decision) -> Outcome:
        outcome = await self._swap(seen, decision)
        if outcome is Outcome.DONE:
            self._journal.stage("handed_over", decision.epoch + 1)
        return outcome

    async def _write_marker(self, epoch: int, own_id: CopyId) -> int:
        return await self._server.write_marker(epoch, own_id, MARKER_SECONDS)

    def _upstream(self, decision: Decision) -> PlaceSettings:
        return self._settings.place(_known(decision.copy).place)


def _known(copy: CopyId | None) -> CopyId:
    """Return the copy id that the deciding step guarantees to be there."""
    if copy is None:
        raise ValueError("a step was decided without the copy it is about")
    return copy


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)


def _named(decision: Decision) -> frozenset[CopyId]:
    if decision.names is None:
        raise ValueError(f"{decision.step} decided without names")
    return decision.names


async def stop_for_shutdown(server: CopyServer, journal: CopyJournal) -> None:
    """Stop the own server cleanly when the agent is told to end; the grant stays as it is."""
    await server.release()
    if (await server.read_directory()).running:
        await server.stop_clean(STOP_SECONDS)
        journal.stage("stopped", 0)
