"""Read the rows of the rules; a bad row refuses the start with its file and field path."""

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from core_app.rules.legal import LegalRow, Rulebook, make_rulebook
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent
FILES = ("parameters.yaml", "exclusions.yaml")
_ROWS = TypeAdapter(tuple[LegalRow, ...])


@cache
def read_rulebook(folder: Path = FOLDER) -> Rulebook:
    """Return the rulebook of `folder`, read once a process; DocumentInvalid or RulesInvalid when bad."""
    return make_rulebook(row for file in FILES for row in parse_yaml(file, read_text(folder / file), _ROWS))
