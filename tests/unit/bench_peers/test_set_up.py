"""What Patroni is set up with: its lock, its settings, and the plot of the result."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.peers.environment import LOCK, SOURCE_ONLY, split_lock
from bench.peers.measure import summarise
from bench.peers.patroni_conf import Node, plan_node
from bench.peers.plot import draw
from replication.postgres.copy import ADMIN, APP, REPL
from runbooks.stand.binaries import Postgres

PASSWORDS = {ADMIN: "one", REPL: "two", APP: "three"}
NODE = Node("idc", 15001, 15002, Path("/var/tmp/x/idc"))


def settings(*, strict: bool) -> dict[str, object]:
    postgres = Postgres(Path("/pg/bin"), 18, None)
    return plan_node(NODE, postgres, ["http://127.0.0.1:2379"], PASSWORDS, strict=strict)["bootstrap"]["dcs"]


def test_setuptools_is_installed_before_what_it_builds() -> None:
    tools, rest = split_lock(LOCK.read_text())
    assert tools.startswith("setuptools==")
    assert "--hash=" in tools
    assert "setuptools==" not in rest
    assert all(f"\n{name}==" in rest for name in (*SOURCE_ONLY, "patroni"))


def test_a_lock_without_setuptools_is_refused() -> None:
    with pytest.raises(ValueError, match="make lock"):
        split_lock("patroni==4 \\\n    --hash=sha256:00\n")


def test_the_product_does_not_install_the_peer() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert "patroni" not in LOCK.with_name(name).read_text()


def test_patroni_runs_at_the_least_times_it_accepts() -> None:
    dcs = settings(strict=True)
    assert (dcs["ttl"], dcs["loop_wait"], dcs["retry_timeout"]) == (20, 1, 3)
    assert dcs["synchronous_mode"]
    assert dcs["synchronous_mode_strict"]


def test_both_sides_run_postgresql_with_the_same_durability() -> None:
    parameters = settings(strict=False)["postgresql"]["parameters"]  # type: ignore[index]
    assert (parameters["fsync"], parameters["synchronous_commit"]) == ("on", "on")
    assert "listen_addresses" not in parameters


def made_run(side: str, first_ack_s: float) -> dict[str, object]:
    times = {"noticed_s": first_ack_s - 0.3, "promoted_s": first_ack_s - 0.1, "first_ack_s": first_ack_s}
    counts = ("operations", "acknowledged", "failed", "unknown", "lost", "phantom", "misbooked")
    return {"side": side} | times | dict.fromkeys(counts, 0)


def test_the_plot_is_an_svg_that_follows_the_theme() -> None:
    runs = [made_run("biyi", 2.0), made_run("patroni", 20.25)]
    summary = {side: summarise([r for r in runs if r["side"] == side]) for side in ("biyi", "patroni")}
    text = draw({"runs": runs, "summary": summary, "versions": {"patroni": "4.1.5"}})
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in text
    assert "20.25 s, 0 failed, 0 lost" in text
    assert "#010101" not in text


def test_a_run_without_a_write_leaves_no_bar() -> None:
    runs = [made_run("biyi", 2.0), made_run("patroni", 20.25) | {"first_ack_s": None}]
    summary = {side: summarise([r for r in runs if r["side"] == side]) for side in ("biyi", "patroni")}
    assert "Patroni" not in draw({"runs": runs, "summary": summary, "versions": {"patroni": "4.1.5"}})
