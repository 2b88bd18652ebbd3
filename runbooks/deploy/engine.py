"""Pulumi through its Automation API: one stack, one operation, the steps it reported."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from runbooks.deploy.steps import StackFile, Step

if TYPE_CHECKING:
    from pulumi.automation import EngineEvent, Stack

Tell = Callable[[int], None]
"""Is told the number of resources seen so far."""
ERROR_LINES = 12
"""Lines of Pulumi's own words kept of a failure. Source: our choice; the cause stands at the end."""


class EngineMissing(Exception):
    """Pulumi or its SDK is not installed; the message says how to get it."""


class EngineFailed(Exception):
    """An operation did not get through; carries the steps it had taken and Pulumi's last words."""

    def __init__(self, why: str, steps: tuple[Step, ...]) -> None:
        super().__init__(why)
        self.steps = steps


class Engine(Protocol):
    """What `biyi deploy` needs of Pulumi. Each call returns the steps, or raises EngineFailed."""

    def preview(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Return what `up` would do."""

    def up(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Do it."""

    def drift(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Return how the world differs from the state; changes neither."""

    def preview_destroy(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Return what `destroy` would end."""

    def destroy(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """End everything of the stack that is not protected."""

    def export_state(self, stack: str) -> Mapping[str, Any]:
        """Return the whole state; secrets in it stay encrypted."""


@dataclass(frozen=True, slots=True)
class PulumiEngine:
    """Pulumi's command line on PATH, driven by its SDK; the project is this repository."""

    root: Path
    policy_pack: Path

    def preview(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Return what `up` would do to the world as it is now; the Level-3 policies are asked too."""
        return _run(
            lambda on_event: self._open(stack).preview(
                on_event=on_event, policy_packs=[str(self.policy_pack)], refresh=True
            ),
            tell,
        )

    def up(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Do it, without a second preview: the caller has shown one."""
        return _run(
            lambda on_event: self._open(stack).up(
                on_event=on_event, policy_packs=[str(self.policy_pack)], refresh=True
            ),
            tell,
        )

    def drift(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Compare state and world without changing either."""
        return _run(lambda on_event: self._open(stack).preview_refresh(on_event=on_event), tell)

    def preview_destroy(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """Return what `destroy` would end."""
        return _run(lambda on_event: self._open(stack).preview_destroy(on_event=on_event), tell)

    def destroy(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        """End everything of the stack; Pulumi refuses what is protected in its state."""
        return _run(lambda on_event: self._open(stack).destroy(on_event=on_event), tell)

    def export_state(self, stack: str) -> Mapping[str, Any]:
        """Return the state as Pulumi stores it."""
        deployment = self._open(stack).export_stack()
        return {"version": deployment.version, "deployment": deployment.deployment}

    def _open(self, stack: str) -> "Stack":
        automation = _sdk()
        if shutil.which("pulumi") is None:
            raise EngineMissing(
                "`pulumi` is not on PATH; see infra/README.md. Nothing was looked at or changed"
            )
        options = automation.LocalWorkspaceOptions(
            work_dir=str(self.root), env_vars={"PULUMI_SKIP_UPDATE_CHECK": "true"}
        )
        opened: Stack = automation.create_or_select_stack(stack, work_dir=str(self.root), opts=options)
        return opened


def _sdk() -> ModuleType:
    try:
        from pulumi import automation
    except ImportError as error:
        raise EngineMissing(
            "Pulumi's SDK is not installed: `make check` sets it up, or pip install 'biyi[infra]'"
        ) from error
    return automation


def _run(call: Callable[[Callable[["EngineEvent"], None]], object], tell: Tell) -> tuple[Step, ...]:
    command_error: type[Exception] = _sdk().CommandError
    steps: dict[str, Step] = {}
    errors: list[str] = []

    def note(event: "EngineEvent") -> None:
        step = step_of(event)
        if step is not None:
            steps.setdefault(f"{step.type} {step.name} {step.op}", step)
            tell(len(steps))
        if (wrong := error_of(event)) is not None:
            errors.append(wrong)

    try:
        call(note)
    except command_error as error:
        words = errors or [line for line in str(error).splitlines() if line.strip()][-ERROR_LINES:]
        raise EngineFailed(" ".join(words), tuple(steps.values())) from error
    return tuple(steps.values())


def step_of(event: "EngineEvent") -> Step | None:
    """Return the step that an event announces, or says to have been; None for others, stacks and providers.

    A refresh is announced as one whatever it will find; what it found, only its end says.
    """
    told = event.resource_pre_event or event.res_outputs_event
    if told is None:
        return None
    data = told.metadata
    if data.type.startswith("pulumi:"):
        return None
    old, new = data.old, data.new
    return Step(
        op=data.op.value,
        type=data.type,
        name=data.urn.rsplit("::", 1)[-1],
        protected=bool(old and old.protect),
        changed=tuple(sorted(data.diffs or data.detailed_diff or ())),
        inputs=dict((new and new.inputs) or (old and old.inputs) or {}),
    )


def error_of(event: "EngineEvent") -> str | None:
    """Return what an event says is wrong: an error, or a check that must be kept and is not; else None."""
    policy, told = event.policy_event, event.diagnostic_event
    if policy is not None and policy.enforcement_level == "mandatory":
        return f"{policy.policy_name}: {' '.join(policy.message.split())}"
    return told.message.strip() if told is not None and told.severity == "error" else None


def read_stacks(directory: Path) -> tuple[StackFile, ...]:
    """Read what the stacks' configuration files say of them: the site, and which stacks come first.

    A file without `biyi:site` is none of ours; what is asked of the engine goes by the file's name.
    """
    found = []
    for path in sorted(directory.glob("Pulumi.*.yaml")):
        config = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("config", {})
        if "biyi:site" in config:
            name = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
            found.append(StackFile(name, str(config["biyi:site"]), tuple(config.get("biyi:after") or ())))
    return tuple(found)


def write_state(directory: Path, stack: str, at: str, state: str) -> Path:
    """Write an exported state where only its owner reads it; return the file."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{stack}-{at}.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(state)
    return path
