"""The platform page tells what is seen, and of the rest since when it is not."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from replication.journal import encode
from replication.model import Site
from runbooks.console.drill_pages import read_book, read_drills, read_run
from runbooks.console.entrance import Person
from runbooks.console.pages import Pages
from runbooks.console.rights import SECTIONS
from runbooks.console.view import FRESH_SECONDS, Platform, SiteLook, make_platform
from runbooks.drills.catalogue import DRILLS
from runbooks.stand.topology import site_settings
from tests.unit.replication.test_decide import SYNC
from tests.unit.runbooks.test_cells import status as idc_status
from tests.unit.stand.making import a_stand

NOW = dt.datetime(2026, 11, 22, 16, 31, 9, tzinfo=dt.UTC)
LAST = dt.datetime(2026, 11, 22, 16, 31, 7, tzinfo=dt.UTC)
BEGAN = dt.datetime(2026, 11, 22, 16, 0, 0, tzinfo=dt.UTC)
SETTINGS = site_settings(a_stand(), Site.CLOUD)


def status(site: str, *, silent: tuple[str, ...] = (), etcd: bool = True) -> dict[str, Any]:
    """Return an agent's answer; the one of idc has the primary of cell a."""
    of_idc = idc_status(site, answers=etcd)
    places = of_idc["places"] if site == "idc" else {}
    return {**of_idc, "places": places, "etcd_members_silent": list(silent)}


def look(found: dict[str, Any] | None, age_seconds: float = 0.1) -> SiteLook:
    return SiteLook(found, LAST if found else None, age_seconds, 4)


def page(idc: SiteLook, cloud: SiteLook) -> Platform:
    return make_platform(SETTINGS, {Site.IDC: idc, Site.CLOUD: cloud}, NOW, BEGAN)


BOTH = page(look(status("idc")), look(status("cloud")))
IDC_GONE = page(look(status("idc"), FRESH_SECONDS + 0.01), look(status("cloud", silent=("idc",))))
NOTHING = page(look(None), look(status("cloud"), 60.0))


def html_of(platform: Platform, part: str, language: str = "en") -> str:
    return Pages("cloud").render(f"_{part}.html", language, platform=platform)


def test_a_site_that_answers_shows_its_cells():
    idc = BOTH.sites[0]
    assert (idc.site, idc.state, idc.reads_etcd, idc.cells) == ("idc", "seen", True, ("a",))


def test_a_cell_shows_epoch_primary_mode_and_lag():
    row = BOTH.cells[0].row
    assert row is not None
    assert (row["epoch"], row["primary"], row["mode"], row["replay_lag_bytes"]) == (5, "a-idc-0", "SYNC", 0)
    text = html_of(BOTH, "cells")
    assert 'data-epoch="5"' in text
    assert "SYNC" in text


def test_a_site_that_does_not_answer_is_not_seen_since_its_last_answer():
    idc = IDC_GONE.sites[0]
    assert (idc.state, idc.since, idc.took_ms, idc.reads_etcd, idc.cells) == (
        "not_seen", LAST, None, None, None,
    )  # fmt: skip
    assert "not seen since 00:31:07" in html_of(IDC_GONE, "sites")
    assert "自 00:31:07 起看不到" in html_of(IDC_GONE, "sites", "zh")


def test_no_figure_of_a_site_that_is_not_seen_is_shown():
    row = IDC_GONE.cells[0].row
    assert row is not None  # the other agent, which is seen, reads the grant in etcd
    assert (row["replay_lag_bytes"], row["open"]) == (None, None)
    place = next(place for place in IDC_GONE.places if place.place == "a-idc-0")
    assert (place.state, place.step, place.why, place.since) == ("not_seen", None, None, LAST)
    text = html_of(IDC_GONE, "copies")
    assert "not seen since 00:31:07" in text
    assert "serving" not in text


def test_a_copy_says_what_its_agent_decided_and_why():
    place = next(place for place in BOTH.places if place.place == "a-idc-0")
    assert (place.state, place.role, place.step, place.why) == ("primary", "primary", "hold", "serving")
    assert "primary, open, sync set true" in html_of(BOTH, "copies")


def test_when_no_agent_is_seen_nothing_is_known():
    assert [cell.row for cell in NOTHING.cells] == [None, None]
    assert NOTHING.witness == "unknown"
    assert {link.state for link in NOTHING.links} == {"unknown"}
    assert NOTHING.sites[0].state == "never_seen"
    assert "never seen since this console began, 00:00:00" in html_of(NOTHING, "sites")
    text = html_of(NOTHING, "cells")
    assert "data-epoch" not in text
    assert text.count("the grant is not known") == 2


def test_an_agent_that_reads_no_etcd_is_not_believed_about_grants_and_an_alarm_says_so():
    blind = page(look(status("idc", etcd=False)), look(status("cloud", etcd=False)))
    assert [cell.row for cell in blind.cells] == [None, None]
    assert {alarm.key for alarm in blind.alarms} == {"alarm.no_etcd", "alarm.cell_unknown"}


def test_a_link_is_what_the_one_at_its_beginning_sees():
    seen = {(link.source, link.target): link.state for link in IDC_GONE.links}
    assert seen == {
        ("idc", "cloud"): "unknown",
        ("idc", "witness"): "unknown",
        ("cloud", "idc"): "silent",
        ("cloud", "witness"): "answers",
    }


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((), (), "answers"), (("witness",), (), "answers"), (("witness",), ("witness",), "silent")],
)
def test_the_witness_answers_when_anybody_hears_it(
    one: tuple[str, ...], other: tuple[str, ...], expected: str
):
    found = page(look(status("idc", silent=one)), look(status("cloud", silent=other)))
    assert found.witness == expected


def test_alarms_name_what_is_lost_and_a_calm_page_has_none_of_its_cells():
    keys = [(alarm.key, dict(alarm.values)) for alarm in IDC_GONE.alarms]
    assert ("alarm.site_not_seen", {"site": "idc"}) in keys
    assert ("alarm.member_silent", {"site": "idc"}) in keys
    assert not [alarm for alarm in BOTH.alarms if alarm.values.get("cell") == "a"]


def test_a_cell_that_writes_alone_is_an_alarm_with_its_exposure_unknown_until_told():
    grant = encode(SYNC)
    alone = {**grant, "mode": "ALONE", "sync_set": [grant["primary"]]}
    found = page(look({**status("idc"), "grants": {"a": alone}}), look(None))
    assert [alarm.key for alarm in found.alarms if alarm.values.get("cell") == "a"] == ["alarm.cell_alone"]
    assert "not known" in html_of(found, "cells")


def test_exposure_is_told_in_bytes_commits_and_yuan():
    grant = encode(SYNC)
    alone = {**grant, "mode": "ALONE", "sync_set": [grant["primary"]]}
    known = {
        "cell": "a", "copy": grant["primary"], "epoch": grant["epoch"], "base_lsn": 100,
        "wal_flush_lsn": 4_300_100, "commits": 17, "moved_fen": 1_234_567, "since": LAST.isoformat(),
        "at": LAST.isoformat(),
    }  # fmt: skip
    told = {**status("idc"), "grants": {"a": alone}, "exposures": {"idc": {"a": known}}}
    text = html_of(page(look(told), look(None)), "cells")
    assert "4.3 MB, 17 commits, ¥12,345.67, since 2 s ago" in text


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_can_be_shown_in_both_languages(language: str, tmp_path: Path):
    pages = Pages("cloud")
    frame = {
        "person": Person("an.bo", "head"), "entries": SECTIONS, "path": "/", "next_language": "en",
        "form_token": "0", "jobs": [], "choices": {"site": ["idc", "cloud"]},
    }  # fmt: skip
    folder = tmp_path / "20261123T001821Z-site-loss-idc"
    folder.mkdir()
    header = {"drill": "site-loss", "site": "idc", "started_at": LAST.isoformat()}
    (folder / "history.jsonl").write_text(json.dumps(header) + "\n")
    found = {"verdict": "broken", "checks": {"none_lost": "broken"}, "cells": {"a": {"rto_seconds": 1.5}}}
    (folder / "verdict.json").write_text(json.dumps(found))
    run = read_run(tmp_path, folder.name)
    assert run is not None
    drills = pages.render("drills.html", language, **frame, **read_drills(tmp_path, NOW))
    assert f"/drills/runs/{folder.name}" in drills
    assert "1.50 s" in drills
    assert "none_lost" in pages.render("run.html", language, **frame, run=run, reported=False)
    assert "<iframe" in pages.render("run.html", language, **frame, run=run, reported=True)
    for name in DRILLS:
        assert "biyi drill run" in pages.render("runbook.html", language, **frame, **(read_book(name) or {}))
    assert "cells-title" in pages.render("platform.html", language, **frame, platform=IDC_GONE)
    for template in ("door.html", "sign_in.html"):
        assert pages.render(template, language, **frame, reason="door.over", staff="a", told="")
