"""Rules broken on purpose, each in the production loop's decision or in one of its effects.

A simulator that finds nothing may look away; each of these must be found, by the rule it names.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from replication.etcd import Outcome
from replication.failover.act import Actor, Effect
from replication.failover.loop import CopyRound
from replication.failover.states import CopyState, Decision, Seen, Step, Why
from replication.model import Mode, Site
from replication.settings import FailoverSettings
from replication.simulator.server import SimServer

BreakRule = Callable[[CopyRound, Actor, SimServer], None]
Rewrite = Callable[[Seen, Decision], Decision]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One broken rule: what is done instead, and which invariants may find it."""

    name: str
    text: str
    rules: tuple[str, ...]
    apply: BreakRule


def _deciding(rewrite: Rewrite) -> BreakRule:
    """Change what is decided."""

    def apply(one: CopyRound, actor: Actor, server: SimServer) -> None:
        decide = one.decide

        def broken(seen: Seen, limits: FailoverSettings) -> Decision:
            return rewrite(seen, decide(seen, limits))

        one.decide = broken

    return apply


def _acting(step: Step, make: Callable[[Actor, SimServer, Effect], Effect]) -> BreakRule:
    """Change how one step is carried out."""

    def apply(one: CopyRound, actor: Actor, server: SimServer) -> None:
        actor.effects[step] = make(actor, server, actor.effects[step])

    return apply


def _swap_of(actor: Actor) -> Effect:
    """Return the effect that swaps the decided grant and does nothing else."""
    return actor.effects[Step.ABANDON_MOVE]


def _shrink_first(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    async def leave(seen: Seen, decision: Decision) -> Outcome:
        await server.set_sync_names(decision.names or frozenset())
        return await effect(seen, decision)

    return leave


def _shrink_on_a_read(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    """After a join of unknown outcome: the read grant lacks the copy, so its name is dropped again."""
    unknown: list[bool] = []

    async def join(seen: Seen, decision: Decision) -> Outcome:
        if unknown and decision.copy is not None:
            unknown.clear()
            await server.set_sync_names(seen.own.sync_names - {decision.copy})
            return Outcome.DONE
        outcome = await effect(seen, decision)
        if outcome is Outcome.UNKNOWN:
            unknown.append(True)
        return outcome

    return join


def _shrink_on_unknown(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    async def leave(seen: Seen, decision: Decision) -> Outcome:
        outcome = await effect(seen, decision)
        if outcome is Outcome.UNKNOWN:
            await server.set_sync_names(decision.names or frozenset())
        return outcome

    return leave


def _swap_only(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    return _swap_of(actor)


def _join_unproven(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    async def join(seen: Seen, decision: Decision) -> Outcome:
        if seen.own.copy is None or decision.copy is None:
            return Outcome.REFUSED
        lsn = await server.write_marker(decision.epoch, seen.own.copy, 1.0)
        if not await server.wait_flushed(decision.copy, lsn, 1.0):
            return Outcome.REFUSED
        return await _swap_of(actor)(seen, decision)

    return join


def _join_at_once(seen: Seen, decision: Decision) -> Decision:
    """Decide JOIN where production first names the copy; the effect is still production's own."""
    if decision.why is not Why.COPY_CAUGHT_UP or seen.grant is None or decision.copy is None:
        return decision
    grant = seen.grant.grant
    joined = grant.with_sync_set(grant.sync_set | {decision.copy})
    return replace(decision, step=Step.ABANDON_MOVE, next_grant=joined)


def _open_first(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    async def finish(seen: Seen, decision: Decision) -> Outcome:
        await server.open_to_clients()
        return await effect(seen, decision)

    return finish


def _promote_only(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    async def promote(seen: Seen, decision: Decision) -> Outcome:
        await server.promote(seen.grant.grant.reserved_timeline if seen.grant else 0, 30.0)
        return Outcome.DONE

    return promote


def _promote_unreserved(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    async def promote(seen: Seen, decision: Decision) -> Outcome:
        if seen.own.copy is None:
            return Outcome.REFUSED
        await server.stop_receiver(seen.own.copy)
        await server.promote(0, 30.0)
        return Outcome.DONE

    return promote


def _start_open(actor: Actor, server: SimServer, effect: Effect) -> Effect:
    async def start(seen: Seen, decision: Decision) -> Outcome:
        server.write_open()
        await server.start()
        return Outcome.DONE

    return start


def _take_where(why: Why) -> Rewrite:
    def rewrite(seen: Seen, decision: Decision) -> Decision:
        if decision.why is not why or seen.grant is None or seen.own.copy is None:
            return decision
        grant = seen.grant.grant
        taking = grant.taking(seen.own.copy, grant.sync_set)
        return replace(decision, step=Step.TAKE, next_grant=taking)

    return rewrite


def _instead(why: Why, step: Step) -> Rewrite:
    def rewrite(seen: Seen, decision: Decision) -> Decision:
        return replace(decision, step=step) if decision.why is why else decision

    return rewrite


def _keep_candidate(seen: Seen, decision: Decision) -> Decision:
    if decision.why is not Why.CANDIDATE_FAILED or decision.next_grant is None or seen.grant is None:
        return decision
    kept = replace(decision.next_grant, sync_set=seen.grant.grant.sync_set)
    return replace(decision, next_grant=kept)


def _ignore_block(one: CopyRound, actor: Actor, server: SimServer) -> None:
    decide = one.decide
    one.decide = lambda seen, limits: decide(replace(seen, degrade="after"), limits)


def _keep_without_promise(seen: Seen, decision: Decision) -> Decision:
    if decision.why is not Why.GRANT_UNCONFIRMED or seen.without_etcd != "peer" or seen.read_ok:
        return decision
    return replace(decision, step=Step.HOLD, why=Why.KEPT_BY_PEER)


def _bootstrap_unproven(one: CopyRound, actor: Actor, server: SimServer) -> None:
    decide = one.decide
    one.decide = lambda seen, limits: decide(replace(seen, holders=frozenset()), limits)


def _believe_old_looks(one: CopyRound, actor: Actor, server: SimServer) -> None:
    decide = one.decide

    def broken(seen: Seen, limits: FailoverSettings) -> Decision:
        return decide(replace(seen, confirmed_age_ms=0) if seen.read_ok else seen, limits)

    one.decide = broken


def _force_whatever_was_asked(one: CopyRound, actor: Actor, server: SimServer) -> None:
    """Take the operator's consent to an earlier grant for consent to this one."""
    decide = one.decide

    def broken(seen: Seen, limits: FailoverSettings) -> Decision:
        if seen.force is not None and seen.grant is not None:
            seen = replace(seen, force=replace(seen.force, revision=seen.grant.revision))
        return decide(seen, limits)

    one.decide = broken


HASTE = 4
"""Times as long as it was: `force_after_ms` is then over before a cut-off agent ends its server."""


def _force_early(one: CopyRound, actor: Actor, server: SimServer) -> None:
    """Do not wait until a primary that was cut off has surely been ended by its own agent."""
    decide = one.decide

    def broken(seen: Seen, limits: FailoverSettings) -> Decision:
        if seen.force is not None:
            longer = {place: ms * HASTE for place, ms in seen.agent_silent_for_ms.items()}
            seen = replace(seen, agent_silent_for_ms=longer)
        return decide(seen, limits)

    one.decide = broken


def _force_at_once(seen: Seen, decision: Decision) -> Decision:
    """Obey the operator though the primary is there."""
    grant = seen.grant
    if seen.force is None or grant is None or grant.revision != seen.force.revision:
        return decision
    if decision.why is not Why.FOLLOWING or seen.own.state is not CopyState.STANDBY:
        return decision
    taking = replace(grant.grant, epoch=grant.grant.epoch + 1, mode=Mode.TAKING, candidate=seen.own.copy)
    return replace(decision, step=Step.TAKE, why=Why.FORCED_BY_OPERATOR, next_grant=taking)


def _seeing(change: Callable[[Seen], Seen]) -> BreakRule:
    """Decide on something else than what is seen."""

    def apply(one: CopyRound, actor: Actor, server: SimServer) -> None:
        decide = one.decide
        one.decide = lambda seen, limits: decide(change(seen), limits)

    return apply


def _site_of(place: str) -> Site:
    return Site(place.split("-")[1])


def _any_beat_of_the_site(seen: Seen) -> Seen:
    silent = {place: seen.silent_for_ms[_site_of(place)] for place in seen.agent_silent_for_ms}
    return replace(seen, agent_silent_for_ms=silent)


def _the_worst_beat_of_the_site(seen: Seen) -> Seen:
    agents = seen.agent_silent_for_ms.items()
    silent = {
        place: max(ms for other, ms in agents if _site_of(other) is _site_of(place)) for place, _ in agents
    }
    return replace(seen, agent_silent_for_ms=silent)


def _any_answer_of_the_site(seen: Seen) -> Seen:
    """A neighbour answers as long as its site beats."""
    answered = {
        place: True if seen.silent_for_ms[_site_of(place)] == 0 else said
        for place, said in seen.agent_answered.items()
    }
    return replace(seen, agent_answered=answered)


def _any_promise(one: CopyRound, actor: Actor, server: SimServer) -> None:
    """One other agent's promise is taken for that of all."""
    sight = one.observer.sight
    waits = sight.peers_wait_until_ms

    def any_waits(cell: str) -> int:
        until_ms = max((waits.get(place.name, 0) for place in sight.others(cell)), default=0)
        return max(0, until_ms - server.now_ms())

    sight.peer_waits_for_ms = any_waits  # type: ignore[method-assign]


def _count_who_told(one: CopyRound, actor: Actor, server: SimServer) -> None:
    """A pod that has not started is taken for an empty disk."""
    sight = one.observer.sight

    def told(cell: str) -> frozenset[str]:
        beats = sight.world.copies.values() if sight.world else ()
        found = frozenset[str]().union(*(beat.holds or frozenset() for beat in beats))
        return frozenset(place for place in found if place.partition("-")[0] == cell)

    sight.holders = told  # type: ignore[method-assign]


class _Forgetful:
    """A register that does not look whether the cell ever had a grant."""

    def __init__(self, actor: Actor) -> None:
        self._ask = actor.register.swap

    async def swap(self, key: str, value: str, mod_revision: int, *, once: str | None = None) -> Outcome:
        """Swap the key alone."""
        return await self._ask(key, value, mod_revision)


def _create_again(one: CopyRound, actor: Actor, server: SimServer) -> None:
    actor.register = _Forgetful(actor)


def _trust_file(one: CopyRound, actor: Actor, server: SimServer) -> None:
    server.trusts_file = True


def _m(name: str, rules: str, text: str, apply: BreakRule) -> Mutation:
    return Mutation(name, text, tuple(rules.split()), apply)


MUTATIONS = {
    mutation.name: mutation
    for mutation in (
        _m("shrink-names-before-swap", "I1 I3", "PostgreSQL stops waiting for a silent copy, then the grant "
           "leaves it out", _acting(Step.LEAVE, _shrink_first)),
        _m("shrink-on-a-read", "I1 I3", "a name the read grant lacks is dropped without a swap of the own",
           _acting(Step.JOIN, _shrink_on_a_read)),
        _m("shrink-on-unknown", "I1 I3", "an unknown swap counts as done when a copy leaves",
           _acting(Step.LEAVE, _shrink_on_unknown)),
        _m("grant-before-names", "I1 I3", "a copy joins the grant before PostgreSQL waits for it",
           _deciding(_join_at_once)),
        _m("grant-before-catch-up", "I1 I3", "a named copy joins the grant before a marker reached it",
           _acting(Step.JOIN, _swap_only)),
        _m("join-on-shown-names", "I1 I3", "names that a session shows are taken for names waited for",
           _acting(Step.JOIN, _join_unproven)),
        _m("take-without-sync-set", "I2", "a copy outside the sync set takes over",
           _deciding(_take_where(Why.NOT_IN_SYNC_SET))),
        _m("forget-failed-candidate", "I2 I4", "a failed candidate stays eligible in the next epoch",
           _deciding(_keep_candidate)),
        _m("promote-with-live-receiver", "I1 I4 history", "a copy is promoted while its stream still runs",
           _acting(Step.PROMOTE, _promote_only)),
        _m("open-before-final-swap", "I1 I4 I5", "a promoted copy admits clients before it holds the grant",
           _acting(Step.FINISH_TAKING, _open_first)),
        _m("open-without-barrier", "I5", "a restarted primary opens before the sync set has its end of WAL",
           _deciding(_instead(Why.WAITING_FOR_SYNC_SET, Step.OPEN))),
        _m("start-unfenced", "I5", "a primary starts with its doors open",
           _acting(Step.START_PRIMARY, _start_open)),
        _m("no-fence", "I5", "a primary that cannot confirm its grant serves on",
           _deciding(_instead(Why.GRANT_UNCONFIRMED, Step.HOLD))),
        _m("no-stop-when-superseded", "I4 I5", "a superseded primary serves on",
           _deciding(_instead(Why.SUPERSEDED, Step.HOLD))),
        _m("act-on-an-old-look", "I5", "a process that stood still decides on what it saw before",
           _believe_old_looks),
        _m("promote-alone", "I6", "a copy takes over a cell that was ALONE",
           _deciding(_take_where(Why.ALONE_NEVER_PROMOTES))),
        _m("force-on-an-old-price", "I6", "a loss accepted under one grant counts under the next",
           _force_whatever_was_asked),
        _m("force-before-the-fence", "I6", "a copy is forced before a cut-off primary has ended itself",
           _force_early),
        _m("force-past-a-living-primary", "I6", "the operator is obeyed although the primary serves",
           _deciding(_force_at_once)),
        _m("ignore-block", "block", "a cell that never writes alone opens or goes on alone", _ignore_block),
        _m("keep-without-promise", "I5", "a primary without etcd serves on though its peer promised nothing",
           _deciding(_keep_without_promise)),
        _m("break-the-promise", "I5", "an agent that promised to wait takes over at once",
           _deciding(_take_where(Why.PROMISED_TO_WAIT))),
        _m("bootstrap-unproven", "I4", "a cell is made anew where others may hold data of it",
           _bootstrap_unproven),
        _m("reuse-a-timeline", "history", "a copy is promoted on the next number it knows nothing of",
           _acting(Step.PROMOTE, _promote_unreserved)),
        _m("any-beat-of-the-site", "office", "a neighbour's beat keeps a dead primary in office",
           _seeing(_any_beat_of_the_site)),
        _m("any-answer-of-the-site", "office", "a neighbour's answer keeps a dead primary in office",
           _seeing(_any_answer_of_the_site)),
        _m("worst-beat-of-the-site", "heard", "a dead neighbour takes a live primary down",
           _seeing(_the_worst_beat_of_the_site)),
        _m("any-promise", "I5", "one agent's promise to wait is taken for that of each other copy's",
           _any_promise),
        _m("create-again", "I2 block", "a first grant that arrives late stands in for one that was lost",
           _create_again),
        _m("count-who-told", "I4", "a copy whose agent has not started is taken for an empty disk",
           _count_who_told),
        _m("believe-the-file", "liveness", "an open pg_hba.conf is taken for an open server", _trust_file),
    )
}  # fmt: skip
"""By name, as `biyi sim --list-mutations` shows them."""
