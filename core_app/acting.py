"""For whom this task acts: set where a caller is admitted, written beside what the transaction changes.

A task that is started for a caller inherits it (contextvars), so nothing is handed through the services. It
decides nothing: who may do what was decided before.
"""

import json
from collections.abc import Mapping
from contextvars import ContextVar

ACTOR: ContextVar[str] = ContextVar("biyi.actor", default="")
"""`channel:app`, `customer:C...`, `staff:li.wei`; "" for a process that acts by itself."""


def act_for_each(actors: Mapping[str, str]) -> None:
    """Act for several at once from here on in this task: callers by the key of their command."""
    ACTOR.set(json.dumps(dict(actors), separators=(",", ":")))
