"""Every process that infra starts is started as it wants to be, and none of the stand's is left out."""

import importlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from replication.model import DATA_SITES
from runbooks import cli
from runbooks.stand.binaries import find_etcd
from runbooks.stand.programs import ServerBinaries, plan_programs
from tests.unit.infra.stage import Recorder, build, example
from tests.unit.stand.making import a_stand

SITES = ("idc", "cloud")
POD_OF = {
    "Deployment": "spec.template.spec",
    "StatefulSet": "spec.template.spec",
    "Job": "spec.template.spec",
    "CronJob": "spec.jobTemplate.spec.template.spec",
}
OTHERWISE = {
    "runbooks.stand.border": "clusters have the leased lines and network policies instead",
    "runbooks.console": "not in clusters yet: how people's browsers reach it there is to be decided (084)",
}
"""What only the stand starts, and why."""
LEFT_OUT = {
    "replication.platform.steward": {"--context", "--kubeconfig"},  # it is in a pod: its own account
    "runbooks.day_end": {"--cell", "--date", "--ahead", "--patience"},  # every cell, by the calendar
}
"""Options that infra does not write, by module. Any other option a process has is written, default or not, so
that a new one is seen here."""


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorder]:
    return {site: build(f"workloads-{site}", example(), tmp_path_factory.mktemp(site)) for site in SITES}


def containers(recorder: Recorder) -> Iterator[dict[str, Any]]:
    for kind, path in POD_OF.items():
        for found in recorder.all(kind).values():
            spec: Any = found
            for step in path.split("."):
                spec = spec[step]
            yield from spec["containers"]


def command_lines(recorder: Recorder) -> Iterator[list[str]]:
    """Every command line of ours: what containers run, and what they run before they end."""
    for one in containers(recorder):
        hook = one.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        for line in ([*one.get("command", []), *one.get("args", [])], hook):
            if line[:1] in (["python"], ["biyi"]):
                yield line


def process_of(line: Sequence[str]) -> tuple[str, click.Command, list[str]]:
    """Return the module, command and arguments that a command line means."""
    if line[0] == "python":
        module = importlib.import_module(f"{line[2]}.__main__" if line[2] == "core_app.api" else line[2])
        return line[2], module.main, list(line[3:])
    command: click.Command = cli.main
    words = list(line[1:])
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    return str(command.callback.__module__), command, words


def check_line(line: Sequence[str]) -> None:
    """AssertionError, or click's own error, unless the process takes this command line whole."""
    module, command, words = process_of(line)
    command.make_context(module, list(words))
    options = {p.opts[0] for p in command.params if isinstance(p, click.Option)}
    written = {word for word in words if word.startswith("--")}
    assert options - written == LEFT_OUT.get(module, set()), f"{module}: {sorted(options - written)}"


@pytest.mark.parametrize("site", SITES)
def test_each_process_is_given_every_option_it_has(sites: dict[str, Recorder], site: str) -> None:
    lines = list(command_lines(sites[site]))
    assert len({process_of(line)[0] for line in lines}) == 10
    for line in lines:
        check_line(line)


def test_an_option_that_is_new_or_gone_is_seen() -> None:
    line = ["python", "-m", "core_app.api", "--settings", "s", "--bureau", "none", "--identity", "none"]
    check_line(line)
    with pytest.raises(AssertionError, match="--identity"):
        check_line(line[:-2])
    with pytest.raises(click.MissingParameter, match="settings_file"):
        check_line([*line[:3], *line[5:]])
    with pytest.raises(click.NoSuchOption):
        check_line([*line, "--none-such", "x"])


@pytest.mark.parametrize("site", SITES)
def test_no_fake_of_the_stand_is_deployed(sites: dict[str, Recorder], site: str) -> None:
    words = [word for line in command_lines(sites[site]) for word in line]
    assert "none" in words
    assert "fake" not in words


@pytest.mark.parametrize("site", SITES)
def test_whatever_the_stand_starts_has_a_workload(sites: dict[str, Recorder], site: str) -> None:
    servers = ServerBinaries(Path("/bin/etcd"), (3, 6), Path("/bin/valkey-server"))
    started: set[str] = {"core_app.migrate"}  # `biyi stand up` runs it once the agents live
    for stand_site in DATA_SITES:
        for program in plan_programs(a_stand(), stand_site, servers):
            line = program.command
            started.add(line[2] if line[1] == "-m" else Path(line[0]).name)
    deployed = {process_of(line)[0] for line in command_lines(sites[site])}
    deployed |= {
        Path(word).name
        for one in containers(sites[site])
        for word in re.findall(r"[\w/-]+", " ".join([*one.get("command", []), *one.get("args", [])[:1]]))
    }
    assert started - deployed == set(OTHERWISE)


@pytest.mark.parametrize("site", SITES)
def test_day_end_comes_every_night_at_both_sites_and_never_at_once(
    sites: dict[str, Recorder], site: str
) -> None:
    spec = sites[site].named("CronJob", "day-end")["spec"]
    minute, hours, *days = spec["schedule"].split()
    assert (hours, days) == ("0-5", ["*", "*", "*"])
    assert int(minute) == {"idc": 10, "cloud": 40}[site]
    assert spec["timeZone"] == "Asia/Shanghai"
    assert spec["concurrencyPolicy"] == "Forbid"


def test_a_new_image_migrates_the_database_anew(tmp_path: Path) -> None:
    document = example()
    names = []
    for digit in "12":
        document["images"]["biyi"] = f"registry/biyi@sha256:{digit * 64}"
        job = build("workloads-idc", document, tmp_path).named("Job", "migrate")
        names.append(job["metadata"]["name"])
    assert names == ["migrate-111111111111", "migrate-222222222222"]


@pytest.mark.parametrize("site", SITES)
def test_etcd_knows_every_flag_it_is_given(sites: dict[str, Recorder], site: str) -> None:
    (etcd,) = [one for one in containers(sites[site]) if one["name"] == "etcd"]
    flags = {word.split("=")[0] for word in etcd["command"][1:]}
    told = subprocess.run([str(find_etcd()[0]), "--help"], capture_output=True, text=True, timeout=30)
    known = set(re.findall(r"^\s+(--[\w-]+)", told.stdout + told.stderr, re.MULTILINE))
    assert len(flags) > 20
    assert flags <= known
