"""The whole certificate rotation on a stand of its own, as a person would run it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbooks.stand.certificates import holders
from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home: Path = tmp_path_factory.mktemp("rotation-stand")
    try:
        up = biyi(home, "stand", "up")
        assert up.returncode == 0, up.stderr
        done = biyi(home, "drill", "run", "certificate-rotation", "--execute", "--json")
        assert done.stdout, done.stderr
        plain: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == 0, json.dumps(plain, indent=1)
        yield plain
    finally:
        biyi(home, "stand", "down")


def test_every_certificate_is_renewed_and_no_request_fails(drilled: dict[str, Any]) -> None:
    assert (drilled["failed"], drilled["unknown"], drilled["lost"]) == (0, 0, 0)
    assert drilled["renewed"] == sum(map(len, holders().values()))
    assert set(drilled["checks"].values()) == {"holds"}


def test_the_old_certificates_open_no_door_but_those_that_ask_for_none(drilled: dict[str, Any]) -> None:
    let_in = {name for name, facts in drilled["doors"].items() if facts["old"] == "let in"}
    no_list = {"idc/valkey", "cloud/valkey"}  # by TLS it takes no revocations: docs/decisions/119
    assert let_in - no_list == {"idc/api", "cloud/api", "idc/to/cloud/api", "cloud/to/idc/api"}
    assert {facts["new"] for facts in drilled["doors"].values()} == {"let in"}
