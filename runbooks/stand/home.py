"""The stand's directory: its lock, its keys, making it, wiping it."""

import datetime as dt
import errno
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from compliance.audit.signing import make_signer, read_signer, render_public_keys, render_signer
from compliance.protection.held_keys import derive_ring
from compliance.protection.key_file import ensure_key_file, read_key_file
from compliance.protection.ring import plant_rings
from compliance.protection.ring_file import make_ring
from core_app.funding.settings import FILE as PAYER_FILE
from core_app.funding.settings import write_payer_settings
from replication.model import DATA_SITES, Site
from replication.postgres.copy import ROLES
from replication.settings import FailoverSettings, write_site_settings
from runbooks.stand import binaries
from runbooks.stand.certificates import ensure_certificates
from runbooks.stand.links import healed_table, write_links
from runbooks.stand.ports import HIGHEST_PORT, LOWEST_PORT, OUTSIDE, choose_ports, needed_ports
from runbooks.stand.programs import write_valkey_settings
from runbooks.stand.topology import (
    Stand,
    StandError,
    audit_key_path,
    make_cells,
    new_token,
    payer_settings,
    read_stand,
    site_settings,
    sockets_root,
    stand_path,
    write_private,
    write_stand,
)

_PORTS_FOR_LATER = 200
"""Room above the first port chosen. Source: our choice, four times what a stand of two cells needs; the
search for free ports goes round, so a larger stand finds its own too."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `up` is asked for; None: as the stand has it, a new one 2 `copies`, 2 `cells`, `backups`."""

    copies: int | None = None
    cells: int | None = None
    fresh: bool = False
    backups: bool | None = None
    failover: FailoverSettings | None = None
    patience_s: float = 90.0


def default_home() -> Path:
    """Return $BIYI_HOME, or `.biyi` in the working directory."""
    return Path(os.environ.get("BIYI_HOME", ".biyi")).resolve()


@contextmanager
def home_lock(home: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the stand's lock; StandError when another command has it for longer than `patience_s`."""
    home.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + patience_s
    with (home / ".lock").open("a+") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    stream.seek(0)
                    holder = stream.read().strip() or "unknown"
                    raise StandError(
                        f"{home}: another command (process {holder}) is working on this stand; wait for it"
                    ) from error
                time.sleep(0.05)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def is_free(at: int | Path) -> bool:
    """Return whether a server could listen now: at a port on loopback, or at a Unix socket."""
    if isinstance(at, Path):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(str(at)) in (errno.ENOENT, errno.ECONNREFUSED)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", at))
            probe.listen(1)  # with SO_REUSEADDR only listening tells two servers apart
        except OSError:
            return False
    return True


def relocated_root(home: Path) -> Path:
    """Return where the data of `home` lie when PostgreSQL's user cannot reach the home."""
    return binaries.SHARED_ROOT / f"biyi-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


def prepare_stand(home: Path, options: UpOptions) -> Stand:
    """Read the stand of `home`, or make one; leaves every directory, key and settings file in place."""
    postgres = binaries.find_postgres()
    if stand_path(home).exists():
        stand = _renewed(read_stand(home), postgres, options)
    else:
        stand = _new_stand(home, postgres, options)
    write_stand(stand)
    _make_keys(stand)
    ensure_certificates(home, dt.datetime.now(dt.UTC))  # noqa: TID251 - `up` is a shell
    for site in Site:
        for name in ("logs", "etcd"):
            (stand.site_dir(site) / name).mkdir(parents=True, exist_ok=True)
        (stand.site_dir(site) / "etcd").chmod(0o700)
        _make_sockets_dir(stand, site)
    for site in DATA_SITES:
        (stand.site_dir(site) / "journal").mkdir(exist_ok=True)
        _make_copies_dir(stand, site)
        write_valkey_settings(stand, site)
        write_site_settings(stand.site_dir(site) / "site.json", site_settings(stand, site))
        write_payer_settings(stand.site_dir(site) / PAYER_FILE, payer_settings(stand, site))
    return stand


def wipe(home: Path) -> None:
    """Remove the stand of `home` but not its evidence; nothing of it may run. Refuses foreign data."""
    for moved in (relocated_root(home), sockets_root(home)):
        if moved != home and moved.exists():
            binaries.own_directory(moved)
            shutil.rmtree(moved)
    for name in (*Site, OUTSIDE, "keys"):
        if (home / name).exists():
            shutil.rmtree(home / name)
    for name in ("stand.json", "links.json"):
        (home / name).unlink(missing_ok=True)


def _renewed(stand: Stand, postgres: binaries.Postgres, options: UpOptions) -> Stand:
    if options.copies not in (None, stand.copies):
        raise StandError(
            f"{stand_path(stand.home)}: made with {stand.copies} copies, asked for {options.copies}; "
            "run `biyi stand up --fresh` (it deletes the data)"
        )
    if options.cells not in (None, len(stand.cells)):
        raise StandError(
            f"{stand_path(stand.home)}: made with {len(stand.cells)} cells, asked for {options.cells}; "
            "run `biyi stand up --fresh` (it deletes the data)"
        )
    if (postgres.major, postgres.run_as) != (stand.pg_major, stand.run_as):
        raise StandError(
            f"{stand_path(stand.home)}: data of PostgreSQL {stand.pg_major} run by {stand.run_as or 'you'}; "
            f"found {postgres.major} run by {postgres.run_as or 'you'}; set BIYI_PG_BIN and BIYI_RUN_AS as "
            "they were, or run `biyi stand up --fresh` (it deletes the data)"
        )
    return replace(
        _with_caches_as_found(stand),
        pg_bin=postgres.bin_dir,
        keeps_backups=stand.keeps_backups if options.backups is None else options.backups,
        failover=options.failover or stand.failover,
    )


def _with_caches_as_found(stand: Stand) -> Stand:
    """Return the stand with the server of the caches that is here now; one that runs stays what it is.

    Another server may not be able to read what the last one kept: the caches are filled anew.
    """
    found = binaries.find_valkey_by_tls()
    if found == stand.valkey_tls_bin or not all(is_free(stand.address(f"{at}/valkey")) for at in DATA_SITES):
        return stand
    for site in DATA_SITES:
        shutil.rmtree(stand.site_dir(site) / "valkey", ignore_errors=True)
    return replace(stand, valkey_tls_bin=found)


def _new_stand(home: Path, postgres: binaries.Postgres, options: UpOptions) -> Stand:
    stale = [name for name in Site if (home / name / "etcd").exists()]
    if stale:
        raise StandError(
            f"{home}: data of {', '.join(stale)} but no stand.json; `biyi stand up --fresh` deletes them"
        )
    if relocated_root(home).exists():
        raise StandError(
            f"{relocated_root(home)}: data of an earlier stand in {home}, whose grants and keys are gone; "
            "`biyi stand up --fresh` deletes them"
        )
    home.mkdir(parents=True, exist_ok=True)
    copies = options.copies or 2
    cells = make_cells(options.cells or 2)
    names = needed_ports({cell.name: str(cell.home) for cell in cells}, copies)
    first = LOWEST_PORT + secrets.randbelow(HIGHEST_PORT - LOWEST_PORT - _PORTS_FOR_LATER)
    data_root = None
    if postgres.run_as is not None and not binaries.can_traverse(home, postgres.run_as):
        data_root = relocated_root(home)
    write_links(home / "links.json", healed_table())
    return Stand(
        copies=copies,
        ports=choose_ports(names, first, is_free),
        pg_bin=postgres.bin_dir,
        pg_major=postgres.major,
        control_token=new_token(),
        run_as=postgres.run_as,
        data_root=data_root,
        cells=cells,
        keeps_backups=options.backups is not False,
        failover=options.failover,
        valkey_tls_bin=binaries.find_valkey_by_tls(),
        home=home,
    )


def _make_copies_dir(stand: Stand, site: Site) -> None:
    """Make the directory in which the agent makes data directories; it belongs to PostgreSQL's user."""
    if stand.data_root is not None:
        binaries.own_directory(stand.data_root)
    directory = stand.copies_dir(site)
    _make_private_dirs(stand, directory, directory / ".staging")
    if stand.run_as is not None and not binaries.can_traverse(directory, stand.run_as):
        raise StandError(
            f"{directory}: user {stand.run_as} cannot get there; "
            "`biyi stand up --fresh` puts the data elsewhere"
        )


def _make_sockets_dir(stand: Stand, site: Site) -> None:
    """Make the directory of a site's Unix sockets: PostgreSQL's user makes its own there."""
    root = sockets_root(stand.data_root or stand.home)
    if root != stand.home:
        binaries.own_directory(root)
    _make_private_dirs(stand, stand.sockets_dir(site))


def _make_private_dirs(stand: Stand, *directories: Path) -> None:
    """Make directories that PostgreSQL's user owns and nobody else may enter (but root)."""
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    if stand.run_as is not None:
        user = pwd.getpwnam(stand.run_as)
        for directory in directories:
            os.chown(directory, user.pw_uid, user.pw_gid)


def _make_keys(stand: Stand) -> None:
    """Make the keys that are missing: never one anew, data may depend on it."""
    directory = stand.key_path("")
    directory.mkdir(mode=0o700, exist_ok=True)
    contents = {
        "pgpass": "".join(f"*:*:*:{role}:{secrets.token_urlsafe(24)}\n" for role in ROLES),
        "valkey": secrets.token_urlsafe(24) + "\n",
    }
    for name, text in contents.items():
        if not stand.key_path(name).exists():
            write_private(stand.key_path(name), text)
    _make_audit_keys(stand)
    _make_rings(stand)


def _make_audit_keys(stand: Stand) -> None:
    """Make each data site's signing key; write the public halves where an auditor gets them."""
    signers = []
    for site in DATA_SITES:
        path = audit_key_path(stand, site)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_private(path, render_signer(make_signer(str(site))))
        signers.append(read_signer(path))
    public = {signer.key_id: signer.public for signer in signers}
    stand.key_path("audit-public.json").write_text(json.dumps(render_public_keys(public), indent=2) + "\n")


def _make_rings(stand: Stand) -> None:
    """Make each data site's key ring under a root key of its own, both at once: they hold the same data keys.

    A stand from before rings keeps what its one root gave, so that its data open.
    """
    missing = [site for site in DATA_SITES if not stand.ring_path(site).exists()]
    if not missing:
        return
    if len(missing) < len(DATA_SITES):
        raise StandError(
            f"{stand.ring_path(missing[0])}: the key ring is gone, the other site's is there; put it back "
            "from its copy (the data depend on it), or `biyi stand up --fresh` deletes them"
        )
    older = stand.key_path("field.key")
    if older.exists():
        root = read_key_file(older)
        rings = {str(site): derive_ring(root, site) for site in DATA_SITES}
    else:
        rings = plant_rings(map(str, DATA_SITES), secrets.token_bytes)
    for site in missing:
        path = stand.ring_path(site)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        ensure_key_file(path.parent / "root.key")
        make_ring(path, rings[str(site)], {"kind": "file", "file": "root.key"})
