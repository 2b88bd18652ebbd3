"""The words of the fault matrix as values: planned faults, batches, schedules, what was done. Pure."""

import enum
from dataclasses import dataclass


class Aim(enum.StrEnum):
    """What an injector can be aimed at, and how its targets are written."""

    DATA_SITE = "data site"
    """`idc` or `cloud`."""
    SITE = "site"
    """A data site or `witness`."""
    WITNESS = "witness"
    """`witness`."""
    PAIR = "pair of sites"
    """`idc-cloud`: both directions."""
    LINK = "one direction"
    """`idc>cloud`."""
    PRIMARY = "primary"
    """`primary:a`: whoever is primary of cell a when the fault begins."""
    COPY = "copy"
    """`copy:a`: the place of cell a at the data site where the primary is not."""
    SERVER = "server"
    """`primary:a` or `copy:a`."""
    CELL = "cell"
    """`cell:a`."""
    ALL = "all"
    """`all`: the whole stand."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """One planned fault. `at_s` counts from the start of its batch; `pick` in [0, 1) decides the rest."""

    number: int
    name: str
    target: str
    at_s: float
    duration_s: float
    pick: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Faults that follow each other closely; afterwards everything is healed and checked."""

    number: int
    faults: tuple[FaultPlan, ...]

    @property
    def length_s(self) -> float:
        """Seconds from its start until the last fault has ended."""
        return max((fault.at_s + fault.duration_s for fault in self.faults), default=0.0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a run will do; the same seed, names and number of faults give the same schedule."""

    seed: int
    names: tuple[str, ...]
    batches: tuple[Batch, ...]

    @property
    def faults(self) -> int:
        """Number of planned faults."""
        return sum(len(batch.faults) for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Spot:
    """What a target meant when its fault began: a site, and for a server its cell and place."""

    site: str = ""
    cell: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class FaultDone:
    """A fault as it took place (monotonic ns). `happened` is False when there was nothing to break."""

    number: int
    batch: int
    name: str
    target: str
    began_ns: int
    ended_ns: int
    happened: bool
    spot: Spot
    note: str = ""


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A batch: when its faults began, when all was healed, when the stand was whole again (None: never)."""

    number: int
    began_ns: int
    healed_ns: int
    whole_ns: int | None
    surprises: tuple[str, ...] = ()
    """Processes that had ended although no fault had ended them."""
