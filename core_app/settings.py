"""Limits of the lending core's processes. Where things are comes from `replication.settings`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Limits of the HTTP API."""

    body_limit_bytes: int = 64 * 1024
    """Largest request body. Source: our choice; the largest real body is under 1 KiB."""
    body_seconds: float = 10.0
    """Longest time for a body to arrive before 408. Source: our choice, 64 KiB at 52 kbit/s."""
    deadline_seconds: float = 10.0
    """Longest wait for a cell before 503. Source: contract of the API; twice the promised 5 s RTO."""
    ready_seconds: float = 2.0
    """Patience of /readyz with each cell. Source: our choice, below a prober's usual 3 s."""
    cache_seconds: float = 0.1
    """Patience with the site's cache before the primary is asked. Source: our choice, a hundred times
    what it takes on two idle cores and a fifth of the longest pause promised in a planned move."""
    decisions_at_once: int = 10
    """Applications under way at once in a process, all cells together. Source: our choice; at 70 decisions a
    second of each of two processes, where two cores are saturated (bench/results/decisions.json), each then
    takes 143 ms, within the budget of a single step, and a bureau may take half of it."""
    decisions_waiting: int = 10
    """Applications that wait for their turn; more get 503. Source: our choice, as long again."""
    rate_address_per_second: float = 1000.0
    """Requests a second from one peer address, in the long run. Source: our choice, five times the 200/s
    that a drill sends to one entrance from one address; a gateway in front is one address."""
    rate_address_burst: float = 2000.0
    """Requests at once from one peer address. Source: our choice, 2 s of its rate."""
    rate_client_per_second: float = 500.0
    """As above for a client that names itself. Source: our choice, half of its address's."""
    rate_client_burst: float = 1000.0
    """As above for a client that names itself. Source: our choice, 2 s of its rate."""
    rate_seconds: float = 0.5
    """Patience with Valkey for tokens. Source: our choice, five times that for the cache, because a busy
    process must not take itself for a lost Valkey and open the gate to what keeps it busy."""
    rate_retry_seconds: float = 5.0
    """How long a lost Valkey is left alone. Source: our choice, ten times the patience: one that hangs then
    slows at most a tenth of the requests."""
    grace_seconds: int = 12
    """Time for running requests at SIGTERM. Source: the deadline plus 2 s to answer."""
    keep_alive_seconds: int = 75
    """Idle time of a client connection. Source: nginx's default, so that its upstreams do not race."""

    def __post_init__(self) -> None:
        if self.grace_seconds <= self.deadline_seconds:
            raise ValueError("grace_seconds must be above deadline_seconds")
        if self.decisions_at_once < 1 or self.decisions_waiting < 0:
            raise ValueError("decisions_at_once must be at least 1 and decisions_waiting at least 0")
        rates = (self.rate_address_per_second, self.rate_client_per_second, self.rate_retry_seconds)
        if min(rates) <= 0 or min(self.rate_address_burst, self.rate_client_burst) < 1:
            raise ValueError("rates must be above 0 and bursts at least 1")
