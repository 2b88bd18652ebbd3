"""API processes beside a site's own: their own port, the site's mark, they finish what they have begun."""

import json
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.model import Site
from replication.settings import read_site_settings, write_site_settings
from runbooks.stand.processes import is_alive, wait_until_gone
from runbooks.stand.replicas import PREFIX, Replica, start_replica, stop_all_replicas, stop_replica
from runbooks.stand.topology import StandError, site_settings, write_stand
from tests.unit.stand.making import a_stand

PRETENDED = """
    import http.server, json, signal, sys, threading
    port = json.load(open(sys.argv[sys.argv.index("--settings") + 1]))["api_port"]
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"ready")
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("listening", flush=True)
    server.serve_forever()
    print("finished", flush=True)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand as files only: no server of it runs."""
    stand = a_stand(home=tmp_path)
    (tmp_path / "cloud").mkdir()
    write_stand(stand)
    write_site_settings(tmp_path / "cloud" / "site.json", site_settings(stand, Site.CLOUD))
    (tmp_path / "pretended_api.py").write_text(textwrap.dedent(PRETENDED))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path
    stop_all_replicas(tmp_path)


def listen(replica: Replica) -> bytes:
    while "listening" not in replica.log_path.read_text():
        replica.check_alive()
    url = replica.url.replace("https", "http") + "/readyz"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: bytes = answer.read()
    return found


@pytest.mark.timeout(120)
def test_a_replica_serves_beside_the_sites_own_and_finishes_when_told(home: Path) -> None:
    before = (home / "cloud" / "site.json").read_text()
    replica = start_replica(home, Site.CLOUD, f"{PREFIX}cloud-2", "pretended_api")
    assert listen(replica) == b"ready"
    assert (home / "cloud" / "site.json").read_text() == before
    own = read_site_settings(home / "cloud" / f"{PREFIX}cloud-2.json")
    assert own.api_port != json.loads(before)["api_port"]
    assert own.site is Site.CLOUD
    stop_replica(replica)
    assert not is_alive(replica.running)
    assert "finished" in replica.log_path.read_text()


@pytest.mark.timeout(120)
def test_what_a_killed_drill_left_is_found_by_its_mark_and_ended(home: Path) -> None:
    left = [start_replica(home, Site.CLOUD, f"{PREFIX}cloud-{n}", "pretended_api") for n in (2, 3)]
    for replica in left:
        listen(replica)
    assert stop_all_replicas(home) == 2
    assert [is_alive(replica.running) for replica in left] == [False, False]
    assert stop_all_replicas(home) == 0


@pytest.mark.timeout(120)
def test_a_replica_that_ended_says_its_last_words(home: Path) -> None:
    replica = start_replica(home, Site.CLOUD, f"{PREFIX}cloud-2", "no_such_api")
    assert wait_until_gone([replica.running], 60) == []
    with pytest.raises(StandError, match="no_such_api"):
        replica.check_alive()
