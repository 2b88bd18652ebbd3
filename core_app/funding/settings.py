"""What the payer of a site is told: its channels and limits. The stand writes `channels.json`."""

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from replication.settings import read_settings, write_settings

_STRICT = ConfigDict(extra="forbid")
FILE = "channels.json"


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """One payment channel: its name in the books, its kind as products name it, where it answers."""

    __pydantic_config__ = _STRICT

    name: str
    kind: str
    url: str


@dataclass(frozen=True, slots=True)
class PayerSettings:
    """Channels in their rank, and limits. Seconds unless the name says else."""

    __pydantic_config__ = _STRICT

    channels: tuple[ChannelSettings, ...]
    status_port: int
    answer_s: float = 2.0
    """Patience with one call, and how long an order sent is valid. Source: our choice; a channel that
    hangs is left after it, well within the 10 s of research row 30."""
    failures: int = 3
    """Calls in a row without an answer that open a channel's breaker. Source: our choice."""
    probe_every_s: float = 1.0
    """Pause between two questions to a channel that is left alone. Source: research row 30."""
    again_s: float = 1.0
    """Pause before an order of unknown fate is asked for again. Source: our choice."""
    lease_s: float = 5.0
    """When others may look after an order that was taken. Source: our choice, above `answer_s` and two
    commits; should a payer be slower, they ask, they do not pay."""
    poll_s: float = 0.25
    """Pause between two looks for orders. Source: our choice; a look is two round trips."""
    debit_channels: tuple[ChannelSettings, ...] = ()
    """Channels that collect instalments; none: nothing is collected from this site."""
    debit_poll_s: float = 5.0
    """As `poll_s` for debits. Source: our choice; nobody waits for one, and rest should cost little."""
    batch: int = 16
    """Orders taken at once from one cell. Source: our choice, under the sessions of a router's line."""

    def __post_init__(self) -> None:
        if not self.answer_s < self.lease_s:
            raise ValueError("lease_s must be above answer_s")
        for kind, channels in (("channels", self.channels), ("debit_channels", self.debit_channels)):
            if len({channel.name for channel in channels}) != len(channels):
                raise ValueError(f"{kind}: a name stands twice")

    def ranked(self, kinds: tuple[str, ...]) -> tuple[str, ...]:
        """Return the channels of these kinds, by the order of kinds, then of channels."""
        return tuple(c.name for kind in kinds for c in self.channels if c.kind == kind)


def as_collector(settings: PayerSettings) -> PayerSettings:
    """Return the settings of the payer that drives debits: its channels are the debit channels."""
    return replace(settings, channels=settings.debit_channels, poll_s=settings.debit_poll_s)


_ADAPTER = TypeAdapter(PayerSettings)


def read_payer_settings(path: Path) -> PayerSettings:
    """Read and check `channels.json`; SettingsError names the file and every bad field."""
    return read_settings(path, _ADAPTER)


def write_payer_settings(path: Path, settings: PayerSettings) -> None:
    """Write `channels.json` in one piece."""
    write_settings(path, _ADAPTER, settings)
