"""The directory in etcd: read, and changed by compare-and-swap only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core_app.directory import KEY, Directory, read_directory
from core_app.errors import CoreError
from replication.etcd import Etcd, Outcome

SWAPS = 20
"""Tries of one change whose answer is lost. Source: our choice; each waits for an answer itself."""


class DirectoryUnsure(CoreError):
    """Whether a change of the record was made is not known."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The directory and the revision at which it was read."""

    directory: Directory
    revision: int


async def read_record(etcd: Etcd, cells: Sequence[str]) -> Seen:
    """Read the record, linearizably; EtcdUnavailable when no member can."""
    found = (await etcd.read_prefix(KEY)).values.get(KEY)
    text, revision = (None, 0) if found is None else (found.value, found.mod_revision)
    return Seen(read_directory(text, cells), revision)


async def change_record(
    etcd: Etcd, cells: Sequence[str], change: Callable[[Directory], Directory | None]
) -> Directory:
    """Make `change` and return the record; None of it: it is as wished already. It may raise.

    A lost answer is settled by another swap: one that is still on its way can only find a newer revision.
    DirectoryUnsure when it stays unknown.
    """
    for _ in range(SWAPS):
        seen = await read_record(etcd, cells)
        wished = change(seen.directory)
        if wished is None:
            return seen.directory
        if await etcd.swap(KEY, wished.to_json(), seen.revision) is Outcome.DONE:
            return wished
    raise DirectoryUnsure(f"{KEY}: {SWAPS} swaps without a certain answer")
