"""The outbox: what other parts are told of a command, in the command's own transaction. Values only.

One row a command. The variable cache, reporting and UEBA follow it at each site from the local copy,
so a payload holds ids, amounts and dates, never personal data in clear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Told:
    """One outbox row: `topic` says what happened, `key` is the id of what it happened to."""

    topic: str
    key: str
    payload: Mapping[str, Any]
