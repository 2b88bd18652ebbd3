"""What every drill needs around it: the stand's addresses, the evidence folder, customers, the watch.

`open_scene` refuses, with what to do about it, when the stand is not in the state a drill starts from.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from compliance.audit.errors import AuditKeyError
from compliance.audit.signing import read_signer
from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.model import DATA_SITES, Grant, Mode, Site
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import calling, public_tls
from runbooks.drills.customer import Customers
from runbooks.drills.history import HistoryWriter
from runbooks.drills.load import Load, LoadSettings
from runbooks.drills.lock import DrillLock, DrillUnderWay, drill_lock
from runbooks.drills.past import find_interrupted
from runbooks.drills.read_rows import Unreadable, read_cell, read_keys
from runbooks.drills.records import INTENT, Header, Mark
from runbooks.drills.rows import CellRows
from runbooks.drills.seal import seal_folder
from runbooks.drills.watch import Grants, GrantWatch, find_not_home
from runbooks.stand.topology import StandError, audit_key_path, outside_settings, read_stand
from runbooks.tokens import channel_token

_READY_S = 20.0
"""Patience with cells that are on their way home. Source: our choice; above home_after plus a move."""
_READ_S = 15.0
"""Patience with a cell that is being moved while its rows are wanted. Source: our choice."""


class DrillRefused(Exception):
    """The drill did not begin; the message says what was found and what to do."""


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """What is asked of a drill. `home` is the stand's directory, `rate` in operations a second.

    `approval` says who asked and who approved, for the evidence.
    """

    home: Path
    rate: float = 40.0
    seed: int = 1
    approval: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Scene:
    """A drill under way; `phase`, `dead` and `started_ns` are what the live view shows."""

    options: DrillOptions
    settings: SiteSettings
    folder: Path
    history: HistoryWriter
    load: Load
    watch: GrantWatch
    started_ns: int
    say: Callable[[str], None]
    phase: str = "check"
    dead: Site | None = None
    earlier: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def homes(self) -> dict[str, str]:
        """Home site of each cell."""
        return {cell.name: str(cell.home) for cell in self.settings.cells}

    def mark(self, name: str, text: str, at_ns: int | None = None, cell: str = "") -> None:
        """Write a step into the history and tell the person who watches."""
        self.history.write(Mark(time.monotonic_ns() if at_ns is None else at_ns, name, text, cell))
        self.phase = text
        self.say(text)

    def intend(self, what: str, undo: str = "biyi drill resume") -> None:
        """Write down on disk what is about to be done and how it is undone by hand, before it is done.

        Whoever finds the folder after the drill was killed knows what may be broken.
        """
        self.history.write(Mark(time.monotonic_ns(), INTENT, f"about to {what} (undo: {undo})"))
        self.history.sync()


@asynccontextmanager
async def open_scene(
    drill: str, viewer: Site | None, options: DrillOptions, say: Callable[[str], None], **facts: Any
) -> AsyncIterator[Scene]:
    """Make the evidence folder and yield a scene whose cells are all SYNC at home; DrillRefused if not.

    Addresses are as seen from `viewer`, which has to survive the drill. None looks from outside all sites
    and takes cells in sync wherever they are. `facts` go into the header.
    """
    settings = find_settings(options.home, viewer)
    with _only_drill(options.home) as lock:
        entrances = await find_entrances(options.home)
        started = datetime.now(UTC)  # noqa: TID251 - a runbook is a shell: it stamps people's time once
        folder = make_folder(options.home, f"{started:%Y%m%dT%H%M%SZ}-{drill}-{facts.get('site', 'both')}")
        history = HistoryWriter(folder / "history.jsonl")
        plan = LoadSettings(rate=options.rate, seed=options.seed, key_prefix=f"drill-{secrets.token_hex(5)}")
        started_ns = time.monotonic_ns()
        history.write(
            Header(
                drill, str(facts.pop("site", "")), options.seed, options.rate, plan.key_prefix,
                started.isoformat(), started_ns, {**facts, **options.approval},
            )
        )  # fmt: skip
        lock.tell(drill, folder)
        try:
            async with (
                Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd,
                GrantWatch(etcd, history) as watch,
                Customers(
                    entrances, tls=public_tls(settings.tls_dir), token=channel_token(settings)
                ) as customers,
            ):
                load = Load(customers, history, plan)
                scene = Scene(options, settings, folder, history, load, watch, started_ns, say)
                try:
                    await _wait_until_ready(scene, at_home=viewer is not None)
                    yield scene
                finally:
                    await load.close()
        finally:
            history.close()
            seal_evidence(options.home, viewer or Site.IDC, folder, say)


@contextmanager
def _only_drill(home: Path) -> Iterator[DrillLock]:
    """Hold the stand's drills; DrillRefused while another runs, or a killed one left its fault in place."""
    try:
        with drill_lock(home) as lock:
            if left := find_interrupted(home / "evidence"):
                raise DrillRefused(
                    f"the drill of {left[0].name} was killed and may have left something broken; first `biyi "
                    "drill resume`"
                )
            yield lock
    except DrillUnderWay as error:
        raise DrillRefused(str(error)) from error


def find_settings(home: Path, viewer: Site | None) -> SiteSettings:
    """Return addresses as seen from `viewer`, None: from outside all sites; DrillRefused without a stand."""
    if viewer is not None:
        return read_drill_settings(home, viewer)
    try:
        return outside_settings(read_stand(home))
    except StandError as error:
        raise DrillRefused(str(error)) from error


def seal_evidence(home: Path, site: Site, folder: Path, say: Callable[[str], None]) -> None:
    """Seal what the drill left, finished or not; without a key it is not, and `biyi drill verify` says so."""
    try:
        signer = read_signer(audit_key_path(read_stand(home), site))
    except (AuditKeyError, StandError) as error:
        say(f"the evidence is not sealed: {error}")
        return
    seal_folder(folder, signer, datetime.now(UTC))  # noqa: TID251 - when people may know it was sealed


async def read_earlier(scene: Scene) -> None:
    """Remember which commands each cell holds before the drill; DrillRefused when one cannot be read."""
    try:
        for cell, grant in scene.watch.grants.items():
            scene.earlier[cell] = await read_keys(scene.settings, grant)
    except Unreadable as error:
        raise DrillRefused(f"{error}; look at `biyi stand status` and `biyi stand logs`") from error


async def read_final(scene: Scene) -> dict[str, CellRows | None]:
    """Read every cell's rows from its granted primary; None where that did not succeed in time."""
    async with Etcd(scene.settings.etcd_urls, calling(scene.settings.tls_dir, "etcd")) as etcd:
        cells = [cell.name for cell in scene.settings.cells]
        found = await asyncio.gather(*(_read_patiently(scene, etcd, cell) for cell in cells))
    return dict(zip(cells, found, strict=True))


async def _read_patiently(scene: Scene, etcd: Etcd, cell: str) -> CellRows | None:
    deadline = time.monotonic() + _READ_S
    while True:
        try:
            grant: Grant = (await read_world(etcd)).grants[cell].grant
            return await read_cell(scene.settings, grant, scene.earlier.get(cell, frozenset()))
        except (EtcdUnavailable, Unreadable) as error:
            if time.monotonic() > deadline:
                scene.say(f"rows of cell {cell} could not be read: {error}")
                return None
            await asyncio.sleep(0.5)


def read_drill_settings(home: Path, viewer: Site) -> SiteSettings:
    """Return a data site's settings; DrillRefused when there is no stand."""
    try:
        return read_site_settings(home / viewer / "site.json")
    except SettingsError as error:
        raise DrillRefused(f"no stand to drill on ({error}); run `biyi stand up` first") from error


async def find_entrances(home: Path) -> dict[str, str]:
    """Return each site's entrance; DrillRefused when one does not answer as ready."""
    entrances = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session:
        for site in DATA_SITES:
            settings = read_drill_settings(home, site)
            url = f"https://127.0.0.1:{settings.api_port}"
            try:
                async with session.get(url + "/readyz", ssl=public_tls(settings.tls_dir)) as response:
                    ready, found = response.status == 200, f"answers {response.status} to /readyz"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                ready, found = False, f"does not answer ({type(error).__name__})"
            if not ready:
                raise DrillRefused(
                    f"the entrance of {site} at {url} {found}; is the stand up? Run `biyi stand up`, "
                    "look at `biyi stand status`"
                )
            entrances[str(site)] = url
    return entrances


async def _wait_until_ready(scene: Scene, *, at_home: bool) -> None:
    def find_faults(grants: Grants) -> list[str]:
        faults = find_not_home(scene.settings.cells, grants)
        in_sync = len(grants) == len(scene.homes) and all(g.mode is Mode.SYNC for g in grants.values())
        return faults if at_home or not in_sync else []

    if await scene.watch.until(lambda grants: not find_faults(grants), _READY_S) is None:
        raise DrillRefused(
            f"a drill starts with every cell in sync{' and at home' if at_home else ''}, but "
            f"{'; '.join(find_faults(scene.watch.grants))}; "
            "see `biyi cells` and `biyi why <cell>`, or start afresh with `biyi stand up`"
        )


def make_folder(home: Path, name: str) -> Path:
    """Make a new folder under the stand's evidence/ and return it; a taken name gets a number."""
    folder = home / "evidence" / name
    number = 1
    while folder.exists():
        number += 1
        folder = home / "evidence" / f"{name}-{number}"
    folder.mkdir(parents=True)
    return folder
