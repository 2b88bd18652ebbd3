"""A real Prometheus scrapes the stand's processes with our rules, and the loss of a site rings.

Needs `prometheus` (Debian's package of that name) on PATH.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from replication.tls import CURRENT
from runbooks.stand.certificates import tls_dir
from tests.integration.failover.town import biyi

ROOT = Path(__file__).parent.parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="NO PROMETHEUS: nothing scraped (apt-get install prometheus)",
    ),
]
JOBS = ("agent", "api", "projector", "payer", "notary", "watcher")
Ask = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("scraped-stand")
    try:
        up = biyi(made, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        yield made
    finally:
        biyi(made, "stand", "down")


@pytest.fixture(scope="module")
def ask(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks a Prometheus that scrapes the stand; yields the rows of an instant query."""
    directory = tmp_path_factory.mktemp("prometheus")
    ports = json.loads((home / "stand.json").read_text())["ports"]
    own = tls_dir(home, "idc") / CURRENT
    scrapes = [
        {
            "job_name": f"biyi-{job}",
            "scheme": "https",
            "tls_config": {
                "ca_file": str(own / "ca.crt"),
                "cert_file": str(own / "prometheus.crt"),
                "key_file": str(own / "prometheus.key"),
                "server_name": f"{job}.biyi",
            },
            "static_configs": [
                {"targets": [f"127.0.0.1:{ports[f'{site}/{job}']}"], "labels": {"site": site}}
                for site in ("idc", "cloud")
            ],
        }
        for job in JOBS
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "infra/observability/rules.yaml")],
        "scrape_configs": scrapes,
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
    ]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            yield lambda query: _ask(address, query)
        finally:
            process.terminate()
            process.wait(20)


def _ask(address: str, query: str) -> list[dict[str, Any]]:
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found
    except OSError:
        return []


def wait_for(ask: Ask, query: str, rows: int, seconds: float) -> list[dict[str, Any]]:
    end = time.monotonic() + seconds
    while len(found := ask(query)) != rows:
        assert time.monotonic() < end, f"{query}: {len(found)} rows of {rows} after {seconds} s"
        time.sleep(0.5)
    return found


def test_every_process_is_scraped_and_a_lost_site_rings(home: Path, ask: Ask) -> None:
    wait_for(ask, "up == 1", 2 * len(JOBS), 60)
    wait_for(ask, 'biyi_cell_mode{mode="SYNC",job="biyi-agent",site="idc"} == 1', 2, 30)
    assert ask("ALERTS") == []
    assert biyi(home, "site", "kill", "idc").returncode == 0
    (rung,) = wait_for(ask, 'ALERTS{alertname="SiteSilent",alertstate="firing"}', 1, 60)
    assert rung["metric"]["peer"] == "idc"
    alone = wait_for(ask, 'ALERTS{alertname="CellWithoutSecondCopy",alertstate="firing"}', 2, 90)
    assert {row["metric"]["cell"] for row in alone} == {"a", "b"}
    assert ask('ALERTS{alertname="AgentsDisagree"}') == []
