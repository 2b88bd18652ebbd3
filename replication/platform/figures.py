"""What a steward tells Prometheus: whether its API server answers, what it wrote, how often it was late."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(slots=True)
class Figures:
    """Counts of one steward since its start."""

    cluster_up: bool | None = None
    """Whether the last round told the API server everything; None: none was made yet, or etcd is silent."""
    conflicts: int = 0
    watches_gone: int = 0
    writes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, kind: str, verb: str) -> None:
        """Count one planned write."""
        self.writes[kind, verb] += 1

    def metrics(self) -> Iterator[Metric]:
        """Return them as Prometheus reads them."""
        up = GaugeMetricFamily("biyi_steward_cluster_up", "1 while the site's API server is told everything")
        if self.cluster_up is not None:
            up.add_metric([], float(self.cluster_up))
        yield up
        yield CounterMetricFamily("biyi_steward_conflicts", "Writes somebody was faster with", self.conflicts)
        yield CounterMetricFamily("biyi_steward_watches_gone", "Watches too old to go on", self.watches_gone)
        writes = CounterMetricFamily("biyi_steward_writes", "Planned writes", labels=["kind", "verb"])
        for (kind, verb), count in sorted(self.writes.items()):
            writes.add_metric([kind, verb], count)
        yield writes
