"""Settings of scoring; each number says where it comes from. Shown in the model card, part of its hash."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ueba.errors import UebaError

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """How events come in."""

    __pydantic_config__ = _STRICT

    ahead_s: int = 300
    """How far in the future an event may lie. Source: our choice, sixty times what NTP hosts differ by."""
    behind_days: int = 1096
    """How old an event may be. Source: our choice, three years, longer than any window here: what is older
    was written by a clock that began anew (1970, 2000), and would lie where no score looks."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The own window that a period is compared with."""

    __pydantic_config__ = _STRICT

    window: int = 60
    """Length in days. Source: research §4.3, own 60-day baseline."""
    gap: int = 14
    """Days between the window's end and the day. Source: research §4.3: AUC .873 without, .968 with 14."""
    shrink_weight: float = 5.0
    """Periods that the peers' figures count for. Source: research §4.2, new staff."""
    least_sd_share: float = 0.1
    """Floor of an own standard deviation as a share of the peers'. Source: research §4.2, scaling."""


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """From evidence to a score and to a queue."""

    __pydantic_config__ = _STRICT

    half_lives: tuple[float, ...] = (3.0, 10.0)
    """Half-lives of accumulated evidence in days. Source: research §4.3: 3 days is best on three people; 10
    for thefts of eight weeks (research §2.3, L4)."""
    fit_days: int = 60
    """Length of the window that calibration and detectors learn from. Source: our choice, three month-ends
    less one, as long as the own baseline."""
    sum_share: float = 1 / 3
    """Share of its latest staff-days that sums are calibrated on; the rest is for single kinds of evidence.
    Source: our choice: levels then mean what they say on days that were not learnt from."""
    least_periods: int = 20
    """Own days in the past that make a person fit to learn from. Source: our choice, a working month."""
    least_rows: int = 500
    """Least staff-days of a role to calibrate it apart. Source: our choice: a tail of 1 in 500."""
    noticed: float = 1.0
    """Evidence in decimal digits of rarity below which nothing is said. Source: our choice, 1 in 10 days."""
    most_digits: float = 8.0
    """Cap of one kind of evidence. Source: our choice; beyond 1 in 10^8 a tail is not known."""
    seeds: tuple[int, ...] = (11, 12, 13)
    """Seeds of the isolation forests. Source: research §4.1: one seed moves AP by .07."""
    trees: int = 100
    """Trees of each forest. Source: PyOD's default; three seeds make 300."""
    fit_rows: int = 20_000
    """Most staff-days that the detectors are fitted on. Source: research §2.5, a second of fitting."""
    neighbours_rows: int = 4_000
    """Most staff-days kept by the nearest-neighbours detector. Source: our choice, scoring in seconds."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Who is looked at each day."""

    __pydantic_config__ = _STRICT

    budget_share: float = 0.01
    """Reviews a day as a share of the staff. Source: research §5.6, the budget that recall is promised at."""
    slow_share: float = 1 / 3
    """Share of the slots for accumulated evidence. Source: research §5.4."""
    random_share: float = 0.05
    """Share of the slots drawn at random, for unbiased precision. Source: our choice, 1 in 20."""
    pause_days: int = 14
    """Rest after a review unless the evidence grows. Source: our choice, twice the week of L6."""
    regrow_digits: float = 0.7
    """Growth that ends a rest early: five times rarer than what was reviewed. Source: our choice."""
    cap_in_30_days: int = 3
    """Most reviews of one person in 30 days. Source: research §4.2: 5 of 50 drew 66 % of the false alarms."""
    carry_days: int = 4
    """How long fresh evidence that found no slot waits for one. Source: our choice, over a weekend; tried on
    generator seeds that are not reported (docs/decisions/066)."""
    carry_loss: float = 0.3
    """Digits that it loses a day meanwhile: today's is looked at first. Source: our choice, a half."""
    kind_digits: float = 3.0
    """Digits of one kind of behaviour that end a rest when the last review saw nothing of it. Source: our
    choice, 1 staff-day in 1,000 of the role."""
    kind_growth: float = 1.0
    """How much of those digits must be new. Source: our choice, ten times rarer than what was reviewed."""
    watch_days: int = 7
    """Days on a watch list until a person is looked at whatever the evidence. Source: our choice, a working
    week of a leaver's notice (research §2.3, L11: thirty days)."""
    watch_slots: int = 1
    """Most of a day's slow slots that go to a watch list. Source: our choice, a third at 1,000 staff."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a score depends on besides events and code."""

    __pydantic_config__ = _STRICT

    utc_offset_minutes: int = 480
    """Local time of the staff. Source: China Standard Time, UTC+8."""
    ingest: IngestSettings = field(default_factory=IngestSettings)
    baseline: Baseline = field(default_factory=Baseline)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)

    def __post_init__(self) -> None:
        if self.baseline.gap < 1 or self.baseline.window < 1:
            raise UebaError("baseline: window and gap must be at least 1 day, or a day would judge itself")
        if not 0 < self.queue.budget_share <= 1:
            raise UebaError(
                f"queue.budget_share: {self.queue.budget_share}; needs a share above 0, at most 1"
            )

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        return asdict(self)


_ADAPTER = TypeAdapter(Settings)


def read_settings(values: Mapping[str, Any]) -> Settings:
    """Return the settings of a document, whatever is missing by default; UebaError names every bad field."""
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise UebaError(
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from error


EPOCH_DAY = dt.date(1970, 1, 1)


def day_number(day: dt.date) -> int:
    """Return the days since 1970-01-01, the form in which days are computed with."""
    return (day - EPOCH_DAY).days


def day_of(number: int) -> dt.date:
    """Return the day of a number of days since 1970-01-01."""
    return EPOCH_DAY + dt.timedelta(days=int(number))
