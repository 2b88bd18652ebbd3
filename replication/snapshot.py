"""Values that are built anew at each look, many thousand times a second in the simulator.

mypy keeps them frozen as any other value. At run time nothing does: the `__init__` of a frozen dataclass
takes two and a half times as long, and those of a look's snapshots were a ninth of a simulated schedule.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as snapshot
else:
    from dataclasses import dataclass

    def snapshot(*, frozen, slots):
        """Make a dataclass that only the type checker keeps frozen."""
        return dataclass(slots=slots)


__all__ = ["snapshot"]
