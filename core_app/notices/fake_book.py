"""The book of a fake vendor: one line an act, under its number, on disk before the vendor answers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_line(book: Path, line: Mapping[str, str]) -> None:
    """Write an act; it survives the vendor's own crash."""
    with book.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(book: Path) -> dict[str, dict[str, str]]:
    """Return what stands in the book, by number; AssertionError when a number stands there twice."""
    if not book.exists():
        return {}
    lines = [json.loads(line) for line in book.read_text(encoding="utf-8").splitlines()]
    found = {line["number"]: line for line in lines}
    if len(found) != len(lines):
        raise AssertionError(f"{book}: a number stands twice")
    return found
