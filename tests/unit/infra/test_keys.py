"""Each process is given the passwords of its own database roles and the keys that it opens, no others."""

import ast
import importlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import replication
from core_app.router_line import Sessions
from infra.workloads.keys import GIVEN, RING, VALKEY, Given, lay_out
from infra.workloads.pods import keys_of
from replication.postgres.copy import READ, ROLES
from tests.unit.infra.stage import Recorder, build, example
from tests.unit.infra.test_command_lines import POD_OF

SITES = ("idc", "cloud")
REPOSITORY = Path(replication.__file__).parent.parent
OPENERS = {"key_file": RING, "valkey_passfile": VALKEY}
"""Settings that name a file of keys, with the files that are read then."""

LOGS_IN = {
    "api": ("core_app/api/__main__.py",),
    "payer": ("core_app/payer.py",),
    "projector": ("core_app/projector.py", "replication/projection/projector.py"),
    "notary": ("core_app/notary.py",),
    "watcher": ("ueba/watcher.py", "ueba/follow.py", "ueba/standing.py"),
    "day-end": ("runbooks/day_end.py",),
    "migrate": ("core_app/migrate.py",),
    "steward": ("replication/platform/steward.py",),
}
"""The modules in which a process logs in somewhere or opens keys."""
OF_COPIES = ("replication/postgres/", "replication/backup/", "replication/exposure_keeper.py")
BY_HAND = ("compliance/controls/", "runbooks/", "ueba/collect.py")
"""What only people start, with the operator's own keys; `LOGS_IN` names what of it a pod starts."""
LIBRARIES = {
    "core_app/router.py",
    "replication/projection/copy.py",
    "replication/settings.py",
    "replication/simulator/schedule.py",
}
"""Log in as they are told."""


def sources() -> Iterator[str]:
    for package in ("replication", "core_app", "compliance", "ueba", "runbooks"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix()


def calls_in(source: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse((REPOSITORY / source).read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def value_of(source: str, node: ast.expr) -> Any:
    """Return what a name or a literal means in its module."""
    module = importlib.import_module(source.removesuffix(".py").replace("/", "."))
    return getattr(module, node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


def roles_in(source: str) -> set[str]:
    """Return the roles that a module logs in as: by a router, as a reader, or by a connection of its own."""
    found: set[str] = set()
    for name, call in calls_in(source):
        user = [word.value for word in call.keywords if word.arg == "user"]
        if name == "start" and ast.unparse(call.func).startswith("Router"):
            given = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "sessions")]
            found |= {(value_of(source, given[0]) if given else Sessions()).user}
        elif name == "connect_copy":
            found |= {value_of(source, user[0]) if user else READ}
        elif name == "connect" and user:
            found |= {value_of(source, user[0])}
    return found


def files_opened_in(source: str) -> set[str]:
    tree = ast.walk(ast.parse((REPOSITORY / source).read_text()))
    asked = {node.attr for node in tree if isinstance(node, ast.Attribute)}
    return {name for setting, files in OPENERS.items() if setting in asked for name in files}


@pytest.mark.parametrize("process", LOGS_IN)
def test_a_process_is_given_the_roles_it_logs_in_as_and_the_keys_it_opens(process: str) -> None:
    assert set(GIVEN[process].roles) == {role for source in LOGS_IN[process] for role in roles_in(source)}
    assert set(GIVEN[process].files) == {f for source in LOGS_IN[process] for f in files_opened_in(source)}


def test_every_module_that_logs_in_or_opens_keys_belongs_to_a_process() -> None:
    known = {source for modules in LOGS_IN.values() for source in modules} | LIBRARIES
    strangers = [
        source
        for source in sources()
        if not source.startswith((*OF_COPIES, *BY_HAND)) and source not in known
        if logs_in(source) or files_opened_in(source)
    ]
    assert strangers == []


def logs_in(source: str) -> bool:
    """Say whether a module logs in at all, without importing it."""
    for name, call in calls_in(source):
        by_router = name == "start" and ast.unparse(call.func).startswith("Router")
        by_name = name == "connect" and any(word.arg == "user" for word in call.keywords)
        if by_router or by_name or name in {"connect_copy", "connect_admin"}:
            return True
    return False


def test_only_a_copy_knows_every_role_as_it_makes_them() -> None:
    assert set(GIVEN["copy"].roles) == set(GIVEN["archived-copy"].roles) == set(ROLES)
    few = {name: given.roles for name, given in GIVEN.items() if not name.endswith("copy")}
    assert all(len(roles) <= 2 for roles in few.values())
    assert {"biyi_admin", "biyi_repl"}.isdisjoint(role for roles in few.values() for role in roles)
    shared = [role for roles in few.values() for role in roles if role != "biyi_app"]
    assert len(shared) == len(set(shared)), "but for the core's, a role is of one process"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorder]:
    return {site: build(f"workloads-{site}", example(), tmp_path_factory.mktemp(site)) for site in SITES}


def pods(recorder: Recorder) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every pod's specification, by the name of its workload."""
    for kind, path in POD_OF.items():
        for name, found in recorder.all(kind).items():
            spec: Any = found
            for step in path.split("."):
                spec = spec[step]
            yield name, spec


def process_in(name: str) -> str:
    if name[1] == "-":
        return "archived-copy" if name.endswith("-0") else "copy"
    return name


@pytest.mark.parametrize("site", SITES)
def test_no_pod_holds_a_key_that_its_process_is_not_given(sites: dict[str, Recorder], site: str) -> None:
    seen = set()
    for name, spec in pods(sites[site]):
        secrets = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
        held = [one for one in secrets if one["secretName"] == "biyi-keys"]
        seen.add(process_in(name))
        given = GIVEN[process_in(name)] if name != "etcd" else Given()
        assert [item["key"] for one in held for item in one["items"]] == list(given.items()), name
        others = {one["secretName"] for one in secrets} - {"biyi-keys"}
        assert others == ({"biyi-audit"} if name == "notary" else set()), name
        written = {one["secretRef"]["name"] for c in spec["containers"] for one in c.get("envFrom", [])}
        assert written == set(), name
    assert seen == {*GIVEN, "etcd"}


@pytest.mark.parametrize("site", SITES)
def test_what_is_laid_out_is_what_is_given_and_only_its_user_can_read_it(
    sites: dict[str, Recorder], site: str, tmp_path: Path
) -> None:
    source, own = tmp_path / "secrets", tmp_path / "own-secrets"
    source.mkdir()
    own.mkdir()
    (own / "sign.key").write_text("sign")
    for role in ROLES:
        (source / f"pgpass.{role}").write_text(f"*:*:*:{role}:pw-{role}\n")
    for name in (*RING, *VALKEY):
        (source / name).write_text(name)
    for name, spec in pods(sites[site]):
        for container in spec.get("initContainers", []):
            if container["name"] != "keys":
                continue
            target = tmp_path / site / name
            target.mkdir(parents=True)
            given = GIVEN[process_in(name)]
            words = container["args"][0].replace("/own-secrets", str(own)).replace("/secrets", str(source))
            command = [*container["command"], words.replace("/run/biyi/keys", str(target))]
            subprocess.run(command, check=True, timeout=10)
            laid = {path.name for path in target.iterdir()}
            own_key = ["sign.key"] if name == "notary" else []
            assert laid == {*given.files, *(["pgpass"] if given.roles else []), *own_key}, name
            assert {os.stat(target / one).st_mode & 0o777 for one in laid} <= {0o600}
            lines = (target / "pgpass").read_text().splitlines() if given.roles else []
            assert lines == [f"*:*:*:{role}:pw-{role}" for role in given.roles]


def test_a_volume_without_names_would_hold_all_and_is_refused() -> None:
    with pytest.raises(ValueError, match="would have every one"):
        keys_of(Given())
    assert lay_out(Given(), "/s", "/k") == "umask 077"
