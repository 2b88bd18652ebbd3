"""Two product documents compared, parameter by parameter. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core_app.products.model import Product


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter that differs; None where a document does not have it."""

    path: str
    before: str | None
    after: str | None


def compare_products(before: Product, after: Product) -> tuple[Change, ...]:
    """Return what differs, in the order of the paths."""
    old, new = (dict(_leaves(product.model_dump(mode="json"))) for product in (before, after))
    paths = sorted(old.keys() | new.keys())
    pairs = ((path, old.get(path), new.get(path)) for path in paths)
    return tuple(Change(*pair) for pair in pairs if pair[1] != pair[2])


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf; lists of names are one leaf, lists of groups are walked."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{number}")
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    else:
        yield path, str(value)
