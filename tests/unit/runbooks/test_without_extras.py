"""`biyi` and every program of the stand start without the extras, as `make demo` installs none."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROGRAMS = (
    "runbooks.cli", "runbooks.stand.fake_bank", "runbooks.stand.border", "replication.agent",
    "replication.backup.service", "core_app.api", "core_app.migrate", "core_app.projector", "core_app.payer",
    "core_app.notary", "ueba.watcher", "runbooks.console",
)  # fmt: skip
WITHOUT = "import sys; sys.modules |= dict.fromkeys(sys.argv[1].split(',')); __import__(sys.argv[2])"


def of_extras() -> set[str]:
    """Return the top-level modules that only an extra brings."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = {Requirement(line).name for lines in project["optional-dependencies"].values() for line in lines}
    always = {"biyi", *(Requirement(line).name for line in project["dependencies"])}
    return {
        module
        for module, names in packages_distributions().items()
        if (found := {name.lower() for name in names}) & extras and not found & always
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_starts_without_what_only_extras_bring(program: str) -> None:
    missing = of_extras()
    assert {"kubernetes", "pulumi", "duckdb", "pyod"} <= missing
    command = [sys.executable, "-c", WITHOUT, ",".join(sorted(missing)), program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
