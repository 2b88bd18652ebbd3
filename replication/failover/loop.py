"""One copy's loop: observe, decide, journal, act; once a look of the site's view. No choice is made here."""

from replication.etcd import Etcd, Outcome
from replication.failover.act import Actor, stop_for_shutdown
from replication.failover.decide import decide, plan_down
from replication.failover.observe import CopyObserver, SiteView
from replication.failover.states import Decision, Seen, Step
from replication.journal import Journal
from replication.model import CopyId, Site
from replication.postgres.copy import Copy
from replication.postgres.standing import StandingConnection
from replication.settings import PlaceSettings, SiteSettings


class CopyLoop:
    """Looks after the copy at one place until cancelled."""

    def __init__(self, settings: SiteSettings, place: PlaceSettings, view: SiteView, etcd: Etcd) -> None:
        self.place = place
        self.seen: Seen | None = None
        self.decision: Decision | None = None
        self.down: CopyId | None = None
        """The copy here that this agent declares down in its beat."""
        self._limits = settings.failover
        self._view = view
        self._standing = StandingConnection(Copy.of_place(settings, place))
        self._observer = CopyObserver(settings, self._standing, view)
        self._journal = Journal(settings.home_dir / "journal" / f"{place.name}.jsonl", place.cell)
        self._actor = Actor(settings, self._standing, etcd, self._journal)

    async def run(self) -> None:
        """Go round for ever; the next round is the retry of whatever did not work."""
        look = 0
        while True:
            look = await self._view.next_look(look)
            if await self.round() is Outcome.DONE:
                look = self._view.started
                self._view.nudge()

    async def round(self) -> Outcome:
        """Make one round; DONE when something was changed, so that the next look comes at once."""
        seen = await self._observer.observe()
        decision = decide(seen, self._limits)
        self.seen, self.decision = seen, decision
        self.down = plan_down(seen, self._limits, self._observer.stopped_for_ms)
        self._journal.decision(seen, decision)
        if decision.step is Step.HOLD:
            return Outcome.REFUSED
        return await self._actor.carry_out(seen, decision)

    def ask_move(self, to: Site | None) -> None:
        """Note that the operator wants the cell at `to`; None takes the wish back."""
        self._observer.move_to = to
        self._view.nudge()

    async def shut_down(self) -> None:
        """Stop the own server cleanly; the loop must have been cancelled before."""
        await stop_for_shutdown(self._standing, self._journal)
