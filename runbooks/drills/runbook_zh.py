"""The runbooks in Chinese, from runbooks_zh.yaml: section by section, step by step, as the docstrings."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from runbooks.drills.catalogue import SECTIONS, Runbook, RunbookIncomplete

_FILE = "runbooks_zh.yaml"


@cache
def read_runbooks_zh() -> Mapping[str, Runbook]:
    """Return every drill's runbook in Chinese by its name; RunbookIncomplete names what one lacks."""
    text = files("runbooks.drills").joinpath(_FILE).read_text(encoding="utf-8")
    return MappingProxyType({name: make_runbook(name, said) for name, said in yaml.safe_load(text).items()})


def make_runbook(name: str, said: Mapping[str, Any]) -> Runbook:
    """Return one drill's runbook as the file has it; its steps are joined as a docstring's are."""
    if missing := [part for part in ("title", *SECTIONS) if not said.get(part)]:
        raise RunbookIncomplete(f"runbooks/drills/{_FILE}: {name} does not say {', '.join(missing)}")
    steps = " -> ".join(str(step) for step in said["Steps"])
    sections = {part: steps if part == "Steps" else str(said[part]) for part in SECTIONS}
    return Runbook(str(said["title"]), sections)
