"""The image: pinned base, no root, nothing that installs, nothing that can raise its rights."""

import re
from pathlib import Path

import pytest

from infra.workloads.documents import PG_BIN
from infra.workloads.pods import USER

ROOT = Path(__file__).parent.parent.parent.parent
TEXT = (ROOT / "infra/images/Containerfile").read_text(encoding="utf-8")
LAST = TEXT.rsplit("FROM ", 1)[1]


def test_the_base_has_to_be_named_by_digest() -> None:
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert TEXT.index("\nARG BASE\n") < TEXT.index("FROM ")
    # Only a declaration inside the stage gives the check below it something to check.
    stage = TEXT.split("FROM ${BASE} AS build", 1)[1]
    assert stage.index("\nARG BASE\n") < stage.index('case "${BASE}" in *@sha256:*) ;;')


def test_it_runs_as_the_user_that_the_pods_demand() -> None:
    assert re.findall(r"^USER (\S+)$", LAST, re.MULTILINE) == [f"{USER}:{USER}"]
    assert "chmod a-s" in LAST
    assert PG_BIN in LAST


def test_every_package_of_python_is_locked_by_hash() -> None:
    installs = re.findall(r"pip install (.*)", TEXT)
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


@pytest.mark.parametrize("package", ["core_app", "replication", "compliance", "ueba", "runbooks"])
def test_it_holds_every_package_that_runs(package: str) -> None:
    assert f"COPY {package} /src/{package}" in TEXT
    assert (ROOT / package / "__init__.py").exists()
