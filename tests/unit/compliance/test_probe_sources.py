"""Every probe is lied to at its source: the file, the listener, the archive, the package it reads is changed.

Each good source is met; each forged one is not met or unknown, for every item that rests on the probe. What
needs a database is forged in tests/integration/core_app/test_probe_sources.py.
"""

import contextlib
import dataclasses
import datetime as dt
import json
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from compliance.controls.catalogue import read_catalogue
from compliance.controls.gather import gather_readings
from compliance.controls.judge import State, judge_reading, worst
from compliance.controls.probes import doors
from compliance.protection import gmssl_engine
from compliance.protection import known_answers as known
from replication.backup.archive import Progress
from replication.backup.health import write_restore
from replication.model import Site
from replication.settings import CellSettings, PlaceSettings
from tests.unit.compliance import probed_house
from tests.unit.compliance.probed_house import NOW, House, add_full, listen, make_certificate, server_context

CATALOGUE = read_catalogue()


@pytest.fixture(scope="module")
def shown_house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    probed_house.build_house(folder)
    return folder


@pytest.fixture
async def house(shown_house: Path, tmp_path: Path, monkeypatch: Any) -> AsyncIterator[House]:
    folder = tmp_path / "house"
    shutil.copytree(shown_house, folder, ignore=shutil.ignore_patterns("packages"))
    # Linked, not copied: there are many of them. Whoever changes one writes it anew.
    shutil.copytree(shown_house / "packages", folder / "packages", copy_function=os.link)
    monkeypatch.setattr(doors, "REFUSAL_S", 20.0)  # doors here answer or hang up, as late as the machine is
    room = type("Room", (), {"percent": 50.0, "available": 4, "total": 8})
    monkeypatch.setattr(psutil, "disk_usage", lambda path: (os.stat(path), room)[1])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: room)
    async with probed_house.open_house(folder, monkeypatch) as made:
        yield made


async def state_of(house: House, name: str) -> State:
    """Ask one probe everywhere as `biyi controls run` does, and judge it."""
    narrow = dataclasses.replace(CATALOGUE, probes={name: CATALOGUE.probes[name]})
    readings = await gather_readings(house.ground(), narrow)
    judged = [each for one in readings for each in judge_reading(CATALOGUE, name, one, NOW)]
    return worst(state for state, _, _ in judged)


Forge = Callable[[House, Any, contextlib.AsyncExitStack], Awaitable[None] | None]


class Forgery(NamedTuple):
    probe: str
    what: str
    forge: Forge
    expected: State


async def take_old_tls(house: House, _: Any, stack: contextlib.AsyncExitStack) -> None:
    weak = server_context(house.folder)
    weak.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        weak.minimum_version = ssl.TLSVersion.TLSv1
    replace_door(house, 0, await stack.enter_async_context(listen(weak)))


async def answer_in_clear(house: House, monkeypatch: Any, stack: contextlib.AsyncExitStack) -> None:
    monkeypatch.setattr(doors, "PATIENCE_S", 1.0)  # its silence at the handshake is waited for
    replace_door(house, 0, await stack.enter_async_context(listen(None)))


async def show_an_old_certificate(house: House, _: Any, stack: contextlib.AsyncExitStack) -> None:
    make_certificate(house.folder / "old.pem", NOW + dt.timedelta(29))
    context = server_context(house.folder, "old.pem")
    replace_door(house, 0, await stack.enter_async_context(listen(context)))


async def let_strangers_in(house: House, _: Any, stack: contextlib.AsyncExitStack) -> None:
    replace_door(house, 1, await stack.enter_async_context(listen(server_context(house.folder))))


async def fail_to_tell(house: House, _: Any, stack: contextlib.AsyncExitStack) -> None:
    replace_metrics(
        house, await stack.enter_async_context(listen(server_context(house.folder), b"500 Broken"))
    )


async def tell_something_else(house: House, _: Any, stack: contextlib.AsyncExitStack) -> None:
    context = server_context(house.folder)
    replace_metrics(house, await stack.enter_async_context(listen(context, told=b"all is well")))


def replace_door(house: House, number: int, port: int) -> None:
    house.doors[number] = dataclasses.replace(house.doors[number], port=port)


def replace_metrics(house: House, port: int) -> None:
    url = f"https://127.0.0.1:{port}/metrics"
    house.metrics[0] = dataclasses.replace(house.metrics[0], url=url)


def change_settings(**changed: Any) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        house.settings["idc"] = dataclasses.replace(house.settings["idc"], **changed)

    return forge


def age_backups(house: House, _: Any, __: Any) -> None:
    shutil.rmtree(house.archive().bases)
    house.archive().make()
    add_full(house.archive(), dt.timedelta(hours=25))


def age_restore(days: int) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        for site in house.settings.values():
            archive = probed_house.archive_of(site)
            shutil.rmtree(archive.root / "restores")
            archive.make()
            write_restore(archive, {"at": (NOW - dt.timedelta(days)).isoformat(), "good": True})

    return forge


def drop_restores(house: House, _: Any, __: Any) -> None:
    for path in house.folder.glob("*/backup/a-7/restores/*"):
        path.unlink()


def rewrite_restores(house: House, _: Any, __: Any) -> None:
    """Say of an old restore, in clear, that it was of today: its note is no more what was signed."""
    for path in house.folder.glob("*/backup/a-7/restores/*"):
        plain = json.loads(path.read_text())
        plain["note"]["at"] = NOW.isoformat()
        path.write_text(json.dumps(plain))


def claim_progress(house: House, _: Any, __: Any) -> None:
    """Say that the archive is up to date, in another's hand."""
    path = house.archive().root / "progress.json"
    plain = json.loads(path.read_text())
    plain["note"]["archived_lsn"] += 1
    path.write_text(json.dumps(plain))


def lag(house: House, _: Any, __: Any) -> None:
    archive = house.archive()
    progress = archive.read_progress()
    assert progress is not None
    archive.write_progress(
        Progress(1, progress.archived_lsn, progress.source_lsn, NOW - dt.timedelta(minutes=1), NOW)
    )


def keep_too_many(house: House, _: Any, __: Any) -> None:
    for hours in (2, 3, 4):
        add_full(house.archive(), dt.timedelta(hours=hours))


def remove(name: str) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        shutil.rmtree(house.folder / name)

    return forge


def lose(name: str) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        (house.folder / name).unlink()

    return forge


def open_to_others(name: str) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        (house.folder / name).chmod(0o644)

    return forge


def claim_root(kind: str) -> Forge:
    """Write another kind of root key into the ring's clear head."""

    def forge(house: House, _: Any, __: Any) -> None:
        plain = json.loads(house.ring.read_text())
        plain["root"]["kind"] = kind
        house.ring.write_text(json.dumps(plain))

    return forge


def write_verdict(text: str) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        house.verdict.write_text(text)

    return forge


def age_drill(touched: bool) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        at = NOW - dt.timedelta(181)
        folder = house.verdict.parent
        old = folder.with_name(f"{at:%Y%m%dT%H%M%SZ}-site-loss-idc")
        folder.rename(old)
        seen = NOW if touched else at
        os.utime(old / "verdict.json", (seen.timestamp(), seen.timestamp()))

    return forge


def change_package(house: House, _: Any, __: Any) -> None:
    rewrite(house.package / "7.txt", "eight\n")


def lose_package_file(house: House, _: Any, __: Any) -> None:
    (house.package / "7.txt").unlink()


def upgrade_package(house: House, _: Any, __: Any) -> None:
    notes = house.package.with_name("shipped-1.0.dist-info") / "METADATA"
    rewrite(notes, notes.read_text().replace("1.0", "1.1"))


def rewrite(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def publish_less(house: House, _: Any, __: Any) -> None:
    record = house.package.with_name("shipped-1.0.dist-info") / "RECORD"
    rewrite(record, "".join(record.read_text().splitlines(keepends=True)[:10]))


def break_engine(_: House, monkeypatch: Any, __: Any) -> None:
    monkeypatch.setattr(gmssl_engine, "compute_sm3", lambda message: bytes(32))


def break_published_answer(_: House, monkeypatch: Any, __: Any) -> None:
    monkeypatch.setattr(known, "SM4_CIPHER", bytes(16))


def fill(what: str) -> Forge:
    def forge(_: House, monkeypatch: Any, __: Any) -> None:
        full = type("Full", (), {"percent": 91.0, "available": 4, "total": 100})
        monkeypatch.setattr(psutil, what, lambda *_: full)

    return forge


def approve(sm3: str | None) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        house.approved_sm3 = sm3

    return forge


def edit_baseline(house: House, _: Any, __: Any) -> None:
    path = house.ground().baseline
    path.write_bytes(path.read_bytes() + b"\n")


def listen_elsewhere(house: House, _: Any, __: Any) -> None:
    house.listening.append(("0.0.0.0", 2323, "telnetd"))


def forget(what: str) -> Forge:
    def forge(house: House, _: Any, __: Any) -> None:
        getattr(house, what).clear()

    return forge


def misplace(house: House, _: Any, __: Any) -> None:
    """A copy of a site that is shown to nobody."""
    stray = PlaceSettings("a-cloud-9", "a", Site.CLOUD, 9, "10.0.0.9", 5432)
    for name, site in house.settings.items():
        house.settings[name] = dataclasses.replace(site, places=(stray,))
    del house.settings["cloud"]


def refuse_to_say(house: House, _: Any, __: Any) -> None:
    def listening() -> None:
        raise PermissionError("sockets of others")

    house.listening = type("Mute", (list,), {"__len__": lambda _: listening()})()


YES, NO, OPEN = State.MET, State.NOT_MET, State.UNKNOWN
FORGERIES = [
    Forgery("tls", "takes TLS 1.0", take_old_tls, NO),
    Forgery("tls", "answers in clear", answer_in_clear, NO),
    Forgery("tls", "its certificate ends in 29 days", show_an_old_certificate, NO),
    Forgery("tls", "no door is known", forget("doors"), OPEN),
    Forgery("mutual-tls", "lets strangers in", let_strangers_in, NO),
    Forgery("mutual-tls", "no door is known", forget("doors"), OPEN),
    Forgery("mutual-tls", "its cache listens in clear", probed_house.keep_cache(None), NO),
    Forgery("mutual-tls", "others reach its cache's socket", probed_house.keep_cache(0o770), NO),
    Forgery("mutual-tls", "its cache's socket is nowhere", probed_house.keep_cache(0), OPEN),
    Forgery("ports", "another socket", listen_elsewhere, NO),
    Forgery("ports", "no socket at all", forget("listening"), NO),
    Forgery("ports", "the system does not say", refuse_to_say, OPEN),
    Forgery("monitoring", "an error instead of figures", fail_to_tell, NO),
    Forgery("monitoring", "other words instead of figures", tell_something_else, NO),
    Forgery("monitoring", "no process is known", forget("metrics"), OPEN),
    Forgery("backups", "none are kept", change_settings(backup=None), NO),
    Forgery("backups", "the archive is gone", remove("idc/backup"), NO),
    Forgery("backups", "the last full one is 25 hours old", age_backups, NO),
    Forgery("backups", "the archive lags", lag, NO),
    Forgery("backups", "restored 31 days ago", age_restore(31), NO),
    Forgery("backups", "never restored", drop_restores, OPEN),
    Forgery("backups", "a restore's date rewritten", rewrite_restores, OPEN),
    Forgery("backups", "progress claimed in another hand", claim_progress, OPEN),
    Forgery("backups", "the key is gone", lose("idc/ring.json"), OPEN),
    Forgery("backup-policy", "none is stated", change_settings(backup=None), NO),
    Forgery("backup-policy", "more kept than stated", keep_too_many, NO),
    Forgery("backup-policy", "nothing is kept", remove("idc/backup"), NO),
    Forgery("backup-policy", "the key is gone", lose("idc/ring.json"), OPEN),
    Forgery("local-copy", "the data centre has none", remove("idc/backup"), NO),
    Forgery("local-copy", "it is 25 hours old", age_backups, NO),
    Forgery("local-copy", "its key is gone", lose("idc/ring.json"), OPEN),
    Forgery("locations", "a copy stands nowhere known", misplace, NO),
    Forgery("locations", "archives do not open", lose("idc/ring.json"), OPEN),
    Forgery("restore-elsewhere", "181 days ago", age_restore(181), NO),
    Forgery("restore-elsewhere", "never", drop_restores, OPEN),
    Forgery("restore-elsewhere", "its date rewritten", rewrite_restores, OPEN),
    Forgery("failover", "it did not hold", write_verdict('{"verdict": "broken"}'), NO),
    Forgery("failover", "181 days ago", age_drill(touched=False), NO),
    Forgery("failover", "an old one touched", age_drill(touched=True), NO),
    Forgery("failover", "none", remove("evidence"), OPEN),
    Forgery("failover", "a torn verdict", write_verdict("{"), OPEN),
    Forgery("key-custody", "the ring can be read by others", open_to_others("idc/ring.json"), NO),
    Forgery("key-custody", "the root key can be read by others", open_to_others("idc/root.key"), NO),
    Forgery("key-custody", "it says a device and has a file", claim_root("pkcs11"), OPEN),
    Forgery("key-custody", "a root of no known kind", claim_root("vendor"), OPEN),
    Forgery("key-custody", "the ring is gone", lose("idc/ring.json"), OPEN),
    Forgery("software", "a file was changed", change_package, NO),
    Forgery("software", "a file is gone", lose_package_file, NO),
    Forgery("software", "next to nothing was published", publish_less, NO),
    Forgery("algorithms", "an engine answers wrongly", break_engine, NO),
    Forgery("algorithms", "the known answer is another", break_published_answer, NO),
    Forgery("capacity", "the disk is full", fill("disk_usage"), NO),
    Forgery("capacity", "memory is used up", fill("virtual_memory"), NO),
    Forgery("capacity", "the site's home is gone", remove("idc"), OPEN),
    Forgery("baseline", "a setting changed",
            change_settings(cells=(CellSettings("a", Site.IDC, degrade="block"),)), NO),
    Forgery("baseline", "a package changed", upgrade_package, NO),
    Forgery("baseline", "the file was edited", edit_baseline, NO),
    Forgery("baseline", "another file was approved", approve("00" * 32), NO),
    Forgery("baseline", "nobody approved one", approve(None), OPEN),
    Forgery("baseline", "the file is gone", lose("baseline.json"), OPEN),
]  # fmt: skip


def test_every_probe_is_forged_here_or_where_a_database_is() -> None:
    assert {one.probe for one in FORGERIES} | probed_house.NEEDS_DATABASE == CATALOGUE.probes.keys()


@pytest.mark.parametrize("name", sorted({one.probe for one in FORGERIES}))
async def test_a_good_source_is_met(house: House, name: str) -> None:
    assert await state_of(house, name) is YES


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda one: f"{one.probe}: {one.what}")
async def test_a_forged_source_is_seen(house: House, monkeypatch: Any, forgery: Forgery) -> None:
    async with contextlib.AsyncExitStack() as stack:
        work = forgery.forge(house, monkeypatch, stack)
        if work is not None:
            await work
        assert await state_of(house, forgery.probe) is forgery.expected


async def test_a_door_at_which_nobody_is_says_nothing(house: House) -> None:
    async with listen(None) as port:
        pass
    for number in (0, 1):
        replace_door(house, number, port)
    assert await state_of(house, "tls") is OPEN
    assert await state_of(house, "mutual-tls") is OPEN
