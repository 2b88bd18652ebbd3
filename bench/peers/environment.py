"""A Python that has Patroni and that PostgreSQL's user can run: `.venv-peers`, from its own hashed lock.

When we are root, Patroni runs as the unprivileged user. Where that user cannot reach this project, the
environment lies in /var/tmp; where it cannot run the interpreter that runs us, another one is taken.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from runbooks.stand.binaries import SHARED_ROOT, can_traverse, own_directory
from runbooks.stand.topology import StandError

ROOT = Path(__file__).parent.parent.parent
LOCK = ROOT / "requirements-peers.lock"
SOURCE_ONLY = ("python-etcd", "ydiff")
"""Packages that come as source only; the lock's setuptools builds them (pure Python, no compiler)."""
_NAMES = ("/usr/bin/python3", "python3.13", "python3.12", "python3.11", "python3.14", "python3")
_FIT = "import sys, venv, ensurepip; assert sys.version_info >= (3, 11)"
_PATIENCE_S = 300


def ensure_python(run_as: str | None) -> Path:
    """Return the environment's Python, made anew when the lock changed; StandError says what is missing."""
    text = LOCK.read_text()
    base = find_interpreter(run_as)
    venv = _place(run_as)
    python = venv / "bin" / "python"
    mark = hashlib.sha256(f"{text}\n{base}\n{venv}".encode()).hexdigest()
    if not (venv / "ready").exists() or (venv / "ready").read_text() != mark:
        print(f"[set-up] making {venv.name} with {base} (Patroni, apart from the product)", file=sys.stderr)
        shutil.rmtree(venv, ignore_errors=True)
        own_directory(venv)
        _call([str(base), "-m", "venv", str(venv)])
        tools, rest = split_lock(text)
        _install(venv, tools, "tools", "--only-binary", ":all:")
        _install(venv, rest, "rest", "--only-binary", ":all:", "--no-binary", ",".join(SOURCE_ONLY),
                 "--no-build-isolation", "--use-pep517")  # fmt: skip
        (venv / "ready").write_text(mark)
    if not runs([str(python), "-c", "import patroni.__main__, patroni.dcs.etcd3, psycopg"], run_as):
        raise StandError(
            f"{venv}: user {run_as or 'you'} cannot run Patroni there; remove it and try again "
            "with umask 022, or with BIYI_RUN_AS=<a user who can read it>"
        )
    return python


def find_interpreter(run_as: str | None) -> Path:
    """Return a Python 3.11 or newer with venv that `run_as` can run; StandError when there is none."""
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    named = [Path(found) for name in _NAMES if (found := shutil.which(name))]
    for candidate in (own, *named):
        if runs([str(candidate), "-c", _FIT], run_as):
            return candidate
    tried = ", ".join(str(path) for path in dict.fromkeys((own, *named)))
    raise StandError(
        f"user {run_as or 'you'} cannot run any Python 3.11+ with venv (tried {tried}): Patroni runs as that "
        "user, as PostgreSQL refuses root; install python3 and python3-venv, or set BIYI_RUN_AS"
    )


def split_lock(text: str) -> tuple[str, str]:
    """Return the lock's entry of setuptools, and all other entries: the one builds some of the others."""
    blocks: list[str] = []
    for line in text.splitlines(keepends=True):
        if line[:1].isalnum() or not blocks:
            blocks.append("")
        blocks[-1] += line
    tools = [block for block in blocks if block.startswith("setuptools==")]
    if len(tools) != 1:
        raise ValueError(f"{LOCK.name}: needs one entry of setuptools, has {len(tools)}; run `make lock`")
    return tools[0], "".join(block for block in blocks if block not in tools)


def runs(command: list[str], run_as: str | None) -> bool:
    """Return whether `run_as` (None: we ourselves) can run `command` to a good end."""
    try:
        done = subprocess.run(command, cwd="/", capture_output=True, timeout=_PATIENCE_S, **identity(run_as))
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def identity(run_as: str | None) -> dict[str, Any]:
    """Return the arguments of subprocess that make a child run as that user."""
    if run_as is None:
        return {}
    entry = pwd.getpwnam(run_as)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _place(run_as: str | None) -> Path:
    if run_as is None or can_traverse(ROOT, run_as):
        return ROOT / ".venv-peers"
    mark = hashlib.sha256(f"{ROOT}:{os.geteuid()}".encode()).hexdigest()[:12]
    return SHARED_ROOT / f"biyi-venv-peers-{mark}"


def _install(venv: Path, requirements: str, name: str, *options: str) -> None:
    path = venv / f"{name}.txt"
    path.write_text(requirements)
    _call([str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
           "--root-user-action", "ignore", "--require-hashes", *options, "-r", str(path)])  # fmt: skip


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.returncode != 0:
        raise StandError(f"{' '.join(command[:4])}: ended with {done.returncode}; {done.stderr[-800:]}")
