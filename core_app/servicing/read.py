"""Read the strategy, the scripts and the holidays; a bad file refuses the start with its field path."""

from functools import cache
from pathlib import Path

from core_app.servicing.collection import STRATEGIES, Strategies, check_strategies
from core_app.servicing.scripts import SCRIPTS, Library, make_library
from core_app.servicing.workdays import NOTICES, Workdays, make_workdays
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent


@cache
def read_scripts(folder: Path = FOLDER) -> Library:
    """Return the scripts, read once a process; DocumentInvalid when one is bad."""
    scripts = parse_yaml("scripts.yaml", read_text(folder / "scripts.yaml"), SCRIPTS)
    return make_library(scripts)


@cache
def read_strategies(folder: Path = FOLDER) -> Strategies:
    """Return the strategies, read once a process; DocumentInvalid when one is bad or names no script."""
    found = parse_yaml("strategies.yaml", read_text(folder / "strategies.yaml"), STRATEGIES)
    check_strategies(found, read_scripts(folder))
    return found


@cache
def read_workdays(folder: Path = FOLDER) -> Workdays:
    """Return the working days of all notices, read once a process; DocumentInvalid when one is bad."""
    notices = parse_yaml("holidays.yaml", read_text(folder / "holidays.yaml"), NOTICES)
    return make_workdays(notices)
