"""The pair of copies and the Valkey of the projection's tests."""

from tests.integration.projection.conftest import pair, scene, servers

__all__ = ["pair", "scene", "servers"]
