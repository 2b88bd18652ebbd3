"""The outbox: what other parts are told of a command, in the command's own transaction. Values only.

One row a command. The warm caches, reporting and UEBA follow it at each site from the local copy,
so a payload holds ids, amounts and dates, never personal data in clear. What follows it must not
need an earlier row to understand a later one: the row of a change to a loan holds under `loan` where
the loan stands after it, as `GET /v1/loans/{loan_id}` shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA, TABLE = "core", "outbox"


@dataclass(frozen=True, slots=True)
class Told:
    """One outbox row: `topic` says what happened, `key` is the id of what it happened to."""

    topic: str
    key: str
    payload: Mapping[str, Any]
