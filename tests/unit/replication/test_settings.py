"""What a site's settings refuse."""

from pathlib import Path

import pytest

from replication.model import Site
from replication.settings import (
    CellSettings,
    FailoverSettings,
    SettingsError,
    SiteSettings,
    read_site_settings,
    write_site_settings,
)

CELL = CellSettings("a", Site.IDC, "block", 2000, "peer")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A site.json that is good."""
    nowhere = Path("nowhere")
    settings = SiteSettings(
        site=Site.IDC, home_dir=nowhere, etcd_urls=(), cells=(CELL,), places=(), agent_urls={}, agent_port=1,
        api_port=2, valkey_port=3, pg_bin=nowhere, passfile=nowhere, key_file=nowhere,
    )  # fmt: skip
    made = tmp_path / "site.json"
    write_site_settings(made, settings)
    assert read_site_settings(made) == settings
    return made


@pytest.mark.parametrize("own_ms", [1000, 4000])
def test_a_cells_own_patience_stands_between_silence_and_fence(path: Path, own_ms: int):
    path.write_text(path.read_text().replace('"degrade_after_ms": 2000', f'"degrade_after_ms": {own_ms}'))
    with pytest.raises(
        SettingsError, match=rf"site.json: .*cells.a.degrade_after_ms is {own_ms}: needs silence_ms"
    ):
        read_site_settings(path)


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [('"block"', '"sometimes"', "cells.0.degrade"), ('"peer"', '"hope"', "cells.0.without_etcd"),
     ('"home": "idc"', '"home": "idc", "mood": 1', "cells.0.mood")],
)  # fmt: skip
def test_an_unknown_policy_is_refused_by_field(path: Path, good: str, bad: str, field: str):
    path.write_text(path.read_text().replace(good, bad))
    with pytest.raises(SettingsError, match=field):
        read_site_settings(path)


def test_a_peers_promise_is_no_longer_than_the_fence():
    with pytest.raises(ValueError, match="peer_promise_ms"):
        FailoverSettings(peer_promise_ms=4001)
