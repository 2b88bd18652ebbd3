"""Look for values in clear, in every spelling that a leak is likely to have."""

import base64
import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

_LARGE_BYTES = 1 << 20


def spellings(value: str) -> Iterator[bytes]:
    """Yield how `value` may stand in a file: encodings, hexadecimal, Base64 at any alignment, JSON."""
    plain = value.encode()
    yield plain
    for encoding in ("utf-16-le", "utf-16-be", "gb18030"):
        if (other := value.encode(encoding)) != plain:
            yield other
    if (quoted := quote(value).encode()) != plain:
        yield quoted
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    yield json.dumps(value)[1:-1].encode()
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + plain)
        # The first and the last group also depend on the neighbours.
        yield coded[4 if shift else 0 : len(coded) // 4 * 4 - 4]


def find_in(content: bytes, values: Iterable[str]) -> list[str]:
    """Return the values that stand in `content` in any spelling."""
    return [value for value in values if any(text in content for text in spellings(value))]


def find_in_tree(root: Path, values: Iterable[str]) -> tuple[list[str], int]:
    """Return `file: value` for each leak below `root`, and how many bytes were looked at.

    Large files (data, WAL, archives) are searched by `grep -F` in one pass, without the spellings that hold a
    zero byte or a line's end, which its list of patterns cannot have.
    """
    wanted, found, looked, large = tuple(values), [], 0, []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            size = path.stat().st_size
            looked += size
            if size > _LARGE_BYTES:
                large.append(path)
                continue
            content = path.read_bytes()
        except OSError:  # gone since: PostgreSQL recycles
            continue
        found += [f"{path.relative_to(root)}: {value}" for value in find_in(content, wanted)]
    return found + [f"{path.relative_to(root)}: a canary" for path in _grep(large, wanted)], looked


def _grep(paths: list[Path], values: Iterable[str]) -> list[Path]:
    texts = {text for value in values for text in spellings(value)}
    patterns = b"\n".join(sorted(text for text in texts if b"\n" not in text and b"\0" not in text))
    found: list[Path] = []
    for start in range(0, len(paths), 200):
        command = ["grep", "-slaF", "-f", "-", "--", *map(str, paths[start : start + 200])]
        done = subprocess.run(command, input=patterns, capture_output=True, env={**os.environ, "LC_ALL": "C"})
        found += [Path(line) for line in done.stdout.decode().splitlines()]
    return found
