"""How often a notary seals and signs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotarySettings:
    """Pauses of one notary, in seconds."""

    seal_every_s: float = 2.0
    """Pause between two looks at a cell that is written at the own site: so long an entry can stand unsealed.
    Source: our choice; at 1 million events a day a block then holds about ten entries a cell."""
    seal_far_every_s: float = 6.0
    """As above for a cell that is written at the other site, whose own notary may be gone. Source: our
    choice, three times the other."""
    checkpoint_every_s: float = 30.0
    """Pause between two checkpoints. Source: one a minute at least is asked for; half of that, so that
    one may fail."""
    deadline_s: float = 8.0
    """Patience with one cell. Source: our choice, above the promised 5 s of a failover."""

    def __post_init__(self) -> None:
        if not 0 < self.seal_every_s <= self.seal_far_every_s < self.checkpoint_every_s:
            raise ValueError("needs 0 < seal_every_s <= seal_far_every_s < checkpoint_every_s")
        if self.checkpoint_every_s + 2 * self.deadline_s > 60:
            raise ValueError("checkpoint_every_s + 2 x deadline_s: above the minute that is promised")
