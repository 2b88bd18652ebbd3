"""What a coroutine of the model waits for.

A module of its own: all else of the simulator can be compiled (`.ci/compiled-sim`), a generator that stands
in for a coroutine cannot.
"""

import types
from collections.abc import Generator
from typing import Any

from replication.simulator.engine import Answer


@types.coroutine
def pause(delay_ms: int) -> Generator[Any, Any, None]:
    """Wait in virtual time."""
    yield delay_ms


@types.coroutine
def answered(answer: Answer) -> Generator[Any, Any, Any]:
    """Wait for an answer."""
    return (yield answer)
