"""What the steward needs to know beside `site.json`."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from replication.settings import read_settings

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """The site's namespace and what in it is the steward's; infra/ writes this document (`platform.json`)."""

    __pydantic_config__ = _STRICT

    namespace: str
    addresses: dict[str, str]
    """IPv4 address at which each place's PostgreSQL is reached, both sites', by place."""
    agents: dict[str, str]
    """Base URL of the agent that looks after each place, both sites', by place."""
    api_replicas_min: int
    """API pods when all is well."""
    api_replicas_burst: int
    """API pods, at least, while the other site is lost."""
    metrics_port: int = 7400
    """Where the steward tells Prometheus its figures. Source: our choice, after the notary's."""
    autoscaler: str = "api"
    """Name of the HorizontalPodAutoscaler whose lower bound is the steward's."""

    def __post_init__(self) -> None:
        if not 0 < self.api_replicas_min <= self.api_replicas_burst:
            raise ValueError("needs 0 < api_replicas_min <= api_replicas_burst")


_ADAPTER = TypeAdapter(PlatformSettings)


def read_platform_settings(path: Path) -> PlatformSettings:
    """Read and check `platform.json`; SettingsError names the file and every bad field."""
    return read_settings(path, _ADAPTER)
