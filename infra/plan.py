"""What is about to be created, as values: the words in which `policy.py` and `protection.py` speak. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final


class Unknown:
    """A value that only the cloud will know, such as an id. It counts as given, and as equal to nothing."""

    def __repr__(self) -> str:
        return "<known after creation>"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Planned:
    """One resource: Pulumi's type token, its name in the program, its properties by wire name."""

    type: str
    name: str
    props: Mapping[str, object] = field(default_factory=dict)
    protect: bool = False

    def at(self, path: str) -> object:
        """Return the property at a dotted path; None where there is none, UNKNOWN below an unknown.

        >>> Planned("t", "n", {"a": {"b": 1}}).at("a.b")
        1
        """
        found: object = self.props
        for key in path.split("."):
            if found is UNKNOWN:
                return UNKNOWN
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def rows(self, path: str) -> Iterator[Mapping[str, object]]:
        """Return the mappings in the list at a dotted path; nothing where it is no list."""
        found = self.at(path)
        for row in found if isinstance(found, list | tuple) else ():
            if isinstance(row, Mapping):
                yield row


Plan = tuple[Planned, ...]

STATEFUL: Final = frozenset(
    {
        "alicloud:kms/instance:Instance",
        "alicloud:kms/key:Key",
        "alicloud:log/project:Project",
        "alicloud:log/store:Store",
        "alicloud:oss/bucket:Bucket",
        "alicloud:oss/bucketWorm:BucketWorm",
        "alicloud:actiontrail/trail:Trail",
        "alicloud:cs/managedKubernetes:ManagedKubernetes",
        "alicloud:vpc/network:Network",
        "alicloud:cen/instance:Instance",
        "alicloud:expressconnect/virtualBorderRouter:VirtualBorderRouter",
        "alicloud:ecs/instance:Instance",
        "kubernetes:core/v1:Namespace",
        "kubernetes:core/v1:PersistentVolumeClaim",
        "kubernetes:apps/v1:StatefulSet",
    }
)
"""What holds data or audit, or whose loss takes such along: protected, never replaced or deleted unasked."""

PREPAID: Final = frozenset(
    {
        "alicloud:kms/instance:Instance",
        "alicloud:wafv3/instance:Instance",
        "alicloud:bastionhost/instance:Instance",
        "alicloud:cloudfirewall/instanceV2:InstanceV2",
        "alicloud:threatdetection/instance:Instance",
        "alicloud:dns/gtmInstance:GtmInstance",
    }
)
"""What spends money by being created; protected too, as deleting it does not bring the money back."""


def is_protected_kind(kind: str) -> bool:
    """Say whether resources of this type must carry `protect`."""
    return kind in STATEFUL or kind in PREPAID
