"""Virtual time and tasks: coroutines driven by hand from one queue of events, in an order the seed fixes.

A coroutine waits by yielding a number of milliseconds or an `Answer` (`replication.simulator.waits`). A
task can be killed (its agent crashed: whatever it had not yet done never happens) or held (its agent was
stopped: it goes on later).
"""

import heapq
from collections.abc import Callable, Coroutine
from typing import Any


class Engine:
    """The queue of events; time is milliseconds and jumps from event to event."""

    def __init__(self) -> None:
        self.now = 0
        self._sequence = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.coroutines: list[Coroutine[Any, Any, None]] = []

    def at(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        """Have `call(*args)` happen `delay_ms` from now."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay_ms, self._sequence, call, args))

    def close(self) -> None:
        """End what still waits, from the outermost call inwards; nothing of the model may be used after."""
        self._queue.clear()
        for coroutine in self.coroutines:
            coroutine.close()

    def clock(self) -> int:
        """Return the time as the production loop's monotonic clock."""
        return self.now

    def run_until(self, end_ms: int, done: Callable[[], bool], done_every_ms: int) -> bool:
        """Let events happen until `end_ms`, or until `done()`, asked now and then; return whether done."""
        queue, pop = self._queue, heapq.heappop
        ask_at = self.now + done_every_ms
        while queue and queue[0][0] <= end_ms:
            self.now, _, call, args = pop(queue)
            if self.now >= ask_at:
                ask_at = self.now + done_every_ms
                if done():
                    return True
            call(*args)
        self.now = end_ms
        return done()


class Answer:
    """Something that will be known later, once; what comes after the first is ignored."""

    __slots__ = ("_known", "_task", "_value")

    def __init__(self) -> None:
        self._task: Task | None = None
        self._known = False
        self._value: Any = None

    def give(self, value: Any) -> None:
        """Make it known and let who waits go on."""
        if self._known:
            return
        self._known, self._value = True, value
        if self._task is not None:
            self._task.engine.at(0, self._task.step, value)

    def arrive(self, value: Any) -> None:
        """Make it known as an event of its own: who waits goes on at once, not through the queue."""
        if self._known:
            return
        self._known, self._value = True, value
        if self._task is not None:
            self._task.step(value)

    def awaited_by(self, task: "Task") -> None:
        """Note who waits; one that is known already answers through the queue."""
        self._task = task
        if self._known:
            task.engine.at(0, task.step, self._value)


class Task:
    """One coroutine of one process."""

    __slots__ = ("_held", "_pending", "_send", "dead", "engine")

    def __init__(self, engine: Engine, coroutine: Coroutine[Any, Any, None]) -> None:
        self.engine = engine
        self.dead = False
        self._send = coroutine.send
        self._held = False
        self._pending: list[Any] = []
        engine.coroutines.append(coroutine)
        engine.at(0, self.step, None)

    def step(self, value: Any) -> None:
        """Go on with the value that was waited for."""
        if self.dead:
            return
        if self._held:
            self._pending.append(value)
            return
        try:
            wanted = self._send(value)
        except StopIteration:
            self.dead = True
            return
        if type(wanted) is int:
            self.engine.at(wanted, self.step, None)
        else:
            wanted.awaited_by(self)

    def kill(self) -> None:
        """End it where it stands; nothing of it happens any more, `finally` included."""
        self.dead = True

    def hold(self) -> None:
        """Stop it as SIGSTOP does."""
        self._held = True

    def release(self) -> None:
        """Let it go on as SIGCONT does."""
        self._held = False
        pending, self._pending = self._pending, []
        for value in pending:
            self.engine.at(0, self.step, value)
