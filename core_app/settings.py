"""Limits of the lending core's processes. Where things are comes from `replication.settings`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Limits of the HTTP API."""

    body_limit_bytes: int = 64 * 1024
    """Largest request body. Source: our choice; the largest real body is under 1 KiB."""
    deadline_seconds: float = 10.0
    """Longest wait for a cell before 503. Source: contract of the API; twice the promised 5 s RTO."""
    ready_seconds: float = 2.0
    """Patience of /readyz with each cell. Source: our choice, below a prober's usual 3 s."""
    cache_seconds: float = 0.1
    """Patience with the site's cache before the primary is asked. Source: our choice, a hundred times
    what it takes on two idle cores and a fifth of the longest pause promised in a planned move."""
    grace_seconds: int = 12
    """Time for running requests at SIGTERM. Source: the deadline plus 2 s to answer."""
    keep_alive_seconds: int = 75
    """Idle time of a client connection. Source: nginx's default, so that its upstreams do not race."""

    def __post_init__(self) -> None:
        if self.grace_seconds <= self.deadline_seconds:
            raise ValueError("grace_seconds must be above deadline_seconds")
