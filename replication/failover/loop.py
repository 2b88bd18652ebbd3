"""One copy's loop: observe, decide, journal, act; once a look of the site's view. No choice is made here."""

from typing import Protocol, Self

from replication.etcd import Etcd, Outcome
from replication.exposure import ExposureTape
from replication.failover.act import Actor, stop_for_shutdown
from replication.failover.decide import decide, plan_down
from replication.failover.observe import CopyObserver
from replication.failover.ports import CopyJournal, CopyServer
from replication.failover.states import Decision, ForceAsked, Seen, Step
from replication.failover.view import SiteView, now_ms
from replication.journal import Journal
from replication.model import CopyId, Site
from replication.postgres.copy import Copy
from replication.postgres.server import PostgresServer
from replication.settings import FailoverSettings, PlaceSettings, SiteSettings


class CopyRound:
    """One round about one copy. The simulator runs this very class, with other ports."""

    def __init__(
        self, limits: FailoverSettings, observer: CopyObserver, actor: Actor, journal: CopyJournal
    ) -> None:
        self.seen: Seen | None = None
        self.decision: Decision | None = None
        self.down: CopyId | None = None
        """The copy here that this agent declares down in its beat."""
        self.observer = observer
        self._limits = limits
        self._actor = actor
        self._journal = journal
        self.decide = decide

    async def make(self) -> Outcome:
        """Make one round; DONE when something was changed, so that the next look comes at once."""
        seen = await self.observer.observe()
        decision = self.decide(seen, self._limits)
        self.seen, self.decision = seen, decision
        self.down = plan_down(seen, self._limits, self.observer.stopped_for_ms)
        self._journal.decision(seen, decision)
        if decision.step is Step.HOLD:
            return Outcome.REFUSED
        return await self._actor.carry_out(seen, decision)


class Looks(Protocol):
    """The site's looks at the shared world, by number."""

    started: int

    async def next_look(self, after: int, cell: str) -> int:
        """Wait until there was a look of this cell's, or everybody's, later than `after`; its number."""

    def nudge(self, cell: str) -> None:
        """Look again at once, for this cell."""


class CopyLoop:
    """Looks after the copy at one place until cancelled."""

    def __init__(
        self,
        place: PlaceSettings,
        view: Looks,
        one: CopyRound,
        server: CopyServer,
        journal: CopyJournal,
    ) -> None:
        self.place = place
        self._view = view
        self._round = one
        self._server = server
        self._journal = journal

    @classmethod
    def of_place(cls, settings: SiteSettings, place: PlaceSettings, view: SiteView, etcd: Etcd) -> Self:
        """Return the loop of an own place, over its real PostgreSQL and its journal file."""
        copy, quarantine = Copy.of_place(settings, place), settings.home_dir / "quarantine"
        server = PostgresServer(copy, quarantine, settings.failover.write_probe_ms)
        journal = Journal(settings.home_dir / "journal" / f"{place.name}.jsonl", place.cell)
        observer = CopyObserver(settings, server, view.sight, now_ms)
        actor = Actor(settings, server, etcd, journal)
        return cls(place, view, CopyRound(settings.failover, observer, actor, journal), server, journal)

    @property
    def seen(self) -> Seen | None:
        """What the last round saw."""
        return self._round.seen

    @property
    def decision(self) -> Decision | None:
        """What the last round decided."""
        return self._round.decision

    @property
    def tape(self) -> ExposureTape:
        """What no copy at the other site is known to have, while this place is primary."""
        return self._round.observer.tape

    @property
    def down(self) -> CopyId | None:
        """The copy here that this agent declares down in its beat."""
        return self._round.down

    async def run(self) -> None:
        """Go round for ever; the next round is the retry of whatever did not work."""
        look = 0
        while True:
            look = await self._view.next_look(look, self.place.cell)
            if await self._round.make() is Outcome.DONE:
                look = self._view.started
                self._view.nudge(self.place.cell)

    def ask_move(self, to: Site | None) -> None:
        """Note that the operator wants the cell at `to`; None takes the wish back."""
        self._round.observer.move_to = to
        self._view.nudge(self.place.cell)

    def ask_force(self, asked: ForceAsked | None) -> None:
        """Note that an operator accepts a loss for this copy; None takes the wish back."""
        self._round.observer.force = asked
        self._view.nudge(self.place.cell)

    async def shut_down(self) -> None:
        """Stop the own server cleanly; the loop must have been cancelled before."""
        await stop_for_shutdown(self._server, self._journal)
