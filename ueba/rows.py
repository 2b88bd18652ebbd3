"""Who and when each row of evidence is, and how to find a row again. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ueba.settings import Settings
from ueba.windows import Floats, Ints, Window


def codes(column: pa.ChunkedArray | pa.Array, names: Sequence[str] | None = None) -> tuple[list[str], Ints]:
    """Return the distinct words in order (or `names`, which hold them all) and each row's place in them."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode()
    words = np.array(encoded.dictionary.to_pylist(), dtype=object).astype(str)
    places = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if names is None:
        unique, order = np.unique(words, return_inverse=True)
        return [str(one) for one in unique], order.astype(np.int64)[places]
    return list(names), np.searchsorted(np.array(names), words).astype(np.int64)[places]


def numbers(table: pa.Table, name: str) -> Ints:
    """Return a column of whole numbers."""
    return np.asarray(table[name].to_numpy(), dtype=np.int64)


@dataclass(slots=True)
class Rows:
    """Who and when each row is, and how to find a row again."""

    staff: list[str]
    roles: list[str]
    person: Ints
    own_key: Ints
    role: Ints
    branch: Ints
    day: Ints
    window: Window
    settings: Settings
    trusted: Floats
    """1 where the day may become part of what is usual, 0 while a case is open."""

    def of(self, person: Ints, day: Ints) -> Ints:
        """Return the row of each person and day, -1 where there is none."""
        places, wanted = self.person * (1 << 20) + self.day, person * (1 << 20) + day
        found = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
        return np.where(places[found] == wanted, found, -1)
