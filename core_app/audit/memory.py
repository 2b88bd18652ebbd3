"""What a site remembers outside every database: the last heads and checkpoints that it signed.

A database that was set back, together with all it holds, still lacks what is remembered here.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from compliance.audit.checkpoint import Mark
from compliance.audit.errors import AuditError

FILE = Path("audit") / "memory.json"
"""Where it lies in a site's directory."""


class MemoryUnreadable(AuditError):
    """The file is there and is none of ours: whoever damaged it may have something to hide."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The newest head of each cell, and the newest checkpoint of each site, that a notary relied on."""

    cells: dict[str, Mark] = field(default_factory=dict)
    checkpoints: dict[str, Mark] = field(default_factory=dict)

    def to_plain(self) -> dict[str, dict[str, list[int | str]]]:
        """Return plain values, as kept and as exported."""
        return {
            name: {key: [mark.number, mark.hash] for key, mark in sorted(marks.items())}
            for name, marks in (("cells", self.cells), ("checkpoints", self.checkpoints))
        }


def read_memory(path: Path) -> Memory:
    """Read what is remembered; nothing when there is no file. MemoryUnreadable when it is damaged."""
    try:
        plain = json.loads(path.read_bytes())
        return Memory(
            {cell: Mark(*mark) for cell, mark in plain["cells"].items()},
            {site: Mark(*mark) for site, mark in plain["checkpoints"].items()},
        )
    except FileNotFoundError:
        return Memory()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MemoryUnreadable(
            f"{path}: not what a notary writes ({type(error).__name__}); look into who changed it, then put "
            "it back from the backup or move it away: the next checkpoint then begins without a memory"
        ) from error


def write_memory(path: Path, memory: Memory) -> None:
    """Write in one piece and to disk: it may be the only witness of what was signed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    with aside.open("w") as file:
        json.dump(memory.to_plain(), file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
