"""Goes through the stacks: preview, refuse, keep the state, act. A failure holds up only who needs it."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runbooks.deploy.engine import Engine, EngineFailed, Tell, write_state
from runbooks.deploy.steps import (
    Outcome,
    StackFile,
    StackResult,
    Step,
    changes_of,
    check_losses,
    protected_of,
)

_PASSED = {Outcome.SAME, Outcome.CHANGES, Outcome.DONE}


@dataclass(frozen=True, slots=True)
class Runner:
    """One run over some stacks. `read_now` gives the instant for names of state files (text, sortable)."""

    engine: Engine
    state_dir: Path
    read_now: Callable[[], str]
    watch: Callable[[str, str], Tell] = field(default=lambda _stack, _doing: lambda _count: None)
    """Is told which stack is being done what with; gives back who counts its resources."""
    known_losses: frozenset[str] = frozenset()

    def preview(self, stacks: Sequence[StackFile]) -> list[StackResult]:
        """Say what `up` would do, refusals included; changes nothing."""
        return self._each(stacks, self._preview)

    def up(self, stacks: Sequence[StackFile]) -> list[StackResult]:
        """Bring the stacks to what the program says."""
        return self._each(stacks, self._up)

    def drift(self, stacks: Sequence[StackFile]) -> list[StackResult]:
        """Say how the world differs from the state; changes nothing. Each stack stands alone."""
        return [self._guarded(stack, self._drift) for stack in stacks]

    def destroy(self, stacks: Sequence[StackFile]) -> list[StackResult]:
        """End the stacks, those that others need last."""
        needed_by = {s.name: tuple(o.name for o in stacks if s.name in o.after) for s in stacks}
        turned = [StackFile(s.name, s.site, needed_by[s.name]) for s in reversed(stacks)]
        return self._each(turned, self._destroy)

    def _each(self, stacks: Sequence[StackFile], do: Callable[[StackFile], StackResult]) -> list[StackResult]:
        results: dict[str, StackResult] = {}
        for stack in stacks:
            held = [name for name in stack.after if name in results and results[name].outcome not in _PASSED]
            if held:
                why = f"needs {', '.join(held)}, which did not get through"
                results[stack.name] = StackResult(stack.name, stack.site, Outcome.SKIPPED, why=why)
            else:
                results[stack.name] = self._guarded(stack, do)
        return list(results.values())

    def _guarded(self, stack: StackFile, do: Callable[[StackFile], StackResult]) -> StackResult:
        begun = time.monotonic()
        try:
            found = do(stack)
        except EngineFailed as failed:
            found = StackResult(stack.name, stack.site, Outcome.FAILED, failed.steps, str(failed))
        seconds = round(time.monotonic() - begun, 2)
        return StackResult(
            found.stack, found.site, found.outcome, found.steps, found.why, seconds, found.state_file
        )

    def _preview(self, stack: StackFile) -> StackResult:
        steps = self.engine.preview(stack.name, self.watch(stack.name, "preview"))
        return self._judged(stack, steps)

    def _judged(self, stack: StackFile, steps: tuple[Step, ...]) -> StackResult:
        if (why := check_losses(steps, self.known_losses)) is not None:
            return StackResult(stack.name, stack.site, Outcome.REFUSED, steps, why)
        outcome = Outcome.CHANGES if changes_of(steps) else Outcome.SAME
        return StackResult(stack.name, stack.site, outcome, steps)

    def _up(self, stack: StackFile) -> StackResult:
        judged = self._preview(stack)
        if judged.outcome is not Outcome.CHANGES:
            return judged
        kept = self._keep_state(stack)
        steps = self.engine.up(stack.name, self.watch(stack.name, "up"))
        return StackResult(stack.name, stack.site, Outcome.DONE, steps, state_file=str(kept))

    def _drift(self, stack: StackFile) -> StackResult:
        steps = self.engine.drift(stack.name, self.watch(stack.name, "drift"))
        outcome = Outcome.CHANGES if changes_of(steps) else Outcome.SAME
        return StackResult(stack.name, stack.site, outcome, steps)

    def _destroy(self, stack: StackFile) -> StackResult:
        try:
            steps = self.engine.preview_destroy(stack.name, self.watch(stack.name, "preview"))
        except EngineFailed:
            # Pulumi stops at the first protected one: the state names them all.
            steps = protected_of(self.engine.export_state(stack.name))
            if (why := check_losses(steps, self.known_losses)) is None:
                raise
            return StackResult(stack.name, stack.site, Outcome.REFUSED, steps, why)
        judged = self._judged(stack, steps)
        if judged.outcome is not Outcome.CHANGES:
            return judged
        kept = self._keep_state(stack)
        steps = self.engine.destroy(stack.name, self.watch(stack.name, "destroy"))
        return StackResult(stack.name, stack.site, Outcome.DONE, steps, state_file=str(kept))

    def _keep_state(self, stack: StackFile) -> Path:
        state = json.dumps(self.engine.export_state(stack.name), ensure_ascii=False)
        return write_state(self.state_dir, stack.name, self.read_now(), state)
