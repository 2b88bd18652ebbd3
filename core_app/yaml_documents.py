"""YAML documents checked against a type, with the file and the path of every bad field."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from core_app.errors import DocumentInvalid

T = TypeVar("T")


def read_text(file: Path) -> str:
    """Return the text of a file; DocumentInvalid when it cannot be read as UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentInvalid(f"{file}: cannot be read ({type(error).__name__})") from error


def parse_yaml(name: str, text: str, adapter: TypeAdapter[T]) -> T:
    """Return the checked value of `text`; DocumentInvalid names the document and each field's path."""
    try:
        return adapter.validate_python(yaml.load(text, yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark
        place = f" at line {at.line + 1}, column {at.column + 1}" if at else ""
        raise DocumentInvalid(f"{name}: no YAML{place}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentInvalid(f"{name}: cannot be read as YAML ({type(error).__name__})") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise DocumentInvalid(f"{name}: " + "; ".join(lines)) from error
