"""A release goes node by node, its customers leave before its process ends, and a bad one touches no node."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from replication.model import Site
from runbooks.drills import entrances, grey_release
from runbooks.drills.grey_release import FAULTY, LEAST, Answers
from runbooks.stand.replicas import PREFIX, Replica

GOOD, BAD = Answers(LEAST, 0, 10.0), Answers(LEAST, LEAST // 4, 10.0)


@dataclass
class Ground:
    """Everything that a release touches, as a list of what was done; `answers` by the tried process."""

    told: list[str] = field(default_factory=list)
    answers: dict[str, Answers] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=lambda: {"idc": "https://idc", "cloud": "https://cloud"})

    @property
    def scene(self) -> Any:
        load = SimpleNamespace(
            entrances=self.urls, open_entrance=self.open_entrance, close_entrance=self.close_entrance
        )
        return SimpleNamespace(
            options=SimpleNamespace(home=Path("/nowhere")),
            load=load,
            mark=lambda name, *_, **__: self.told.append(f"mark {name}"),
            intend=lambda what, *_: self.told.append(f"intend {what}"),
        )

    def open_entrance(self, name: str, _url: str) -> None:
        self.told.append(f"open {name}")

    def close_entrance(self, name: str) -> None:
        self.told.append(f"close {name}")

    def start(self, _home: Path, site: Site, name: str, program: str) -> Any:
        self.told.append(f"start {name}{' faulty' if program == FAULTY else ''}")
        return SimpleNamespace(name=name, site=site, url=f"https://{name}")

    def stop(self, replica: Replica) -> None:
        self.told.append(f"stop {replica.name}")

    def replace(self, _home: Path, site: Site) -> tuple[int, int]:
        self.told.append(f"replace {site}")
        return 1, 2

    def compare(self, _scene: object, name: str, _since_ns: int) -> tuple[Answers, Answers]:
        return GOOD, self.answers.get(name, GOOD)


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Ground:
    found = Ground(answers={f"{PREFIX}idc-faulty": BAD})

    async def ready(_scene: object, url: str, *_: object) -> None:
        found.told.append(f"ready {url.removeprefix('https://')}")

    monkeypatch.setattr(entrances, "start_replica", found.start)
    monkeypatch.setattr(entrances, "stop_replica", found.stop)
    monkeypatch.setattr(entrances, "wait_until_ready", ready)
    monkeypatch.setattr(entrances, "LEAVE_S", 0.0)
    monkeypatch.setattr(grey_release, "wait_until_ready", ready)
    monkeypatch.setattr(grey_release, "replace_api", found.replace)
    monkeypatch.setattr(grey_release, "_answers", found.compare)
    for pause in ("LOOK_S", "LEAVE_S"):
        monkeypatch.setattr(grey_release, pause, 0.0)
    return found


def of_site(site: str) -> list[str]:
    """What a good release does at a node, in order."""
    new = f"{PREFIX}{site}-new"
    return [
        "mark try", f"start {new}", f"ready {new}", f"open {new}", "mark joined",
        f"close {new}", f"stop {new}", "mark left",
        f"intend replace the API of {site}", f"close {site}", f"replace {site}", f"ready {site}",
        f"open {site}", "mark replaced",
    ]  # fmt: skip


async def test_the_faulty_release_touches_no_node_and_the_good_one_goes_node_by_node(ground: Ground) -> None:
    await grey_release._release(ground.scene)
    faulty = f"{PREFIX}idc-faulty"
    assert ground.told == [
        "mark fault", f"start {faulty} faulty", f"ready {faulty}", f"open {faulty}", "mark joined",
        f"close {faulty}", f"stop {faulty}", "mark left", "mark rolled_back",
        *of_site("idc"), *of_site("cloud"),
    ]  # fmt: skip


async def test_a_release_that_errs_at_the_second_node_stays_off_it(ground: Ground) -> None:
    ground.answers[f"{PREFIX}cloud-new"] = BAD
    await grey_release._release(ground.scene)
    assert "replace idc" in ground.told
    assert "replace cloud" not in ground.told
    assert ground.told[-1] == "mark stopped"


async def test_too_few_answers_at_the_end_of_a_trial_are_a_reason_to_go_back(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grey_release, "TRIAL_S", 0.0)
    ground.answers[f"{PREFIX}idc-new"] = Answers(LEAST - 1, 0, 10.0)
    await grey_release._release(ground.scene)
    assert not any(what.startswith("replace") for what in ground.told)


async def test_a_defect_that_nobody_saw_ends_the_drill_before_any_node(ground: Ground) -> None:
    ground.answers.clear()
    await grey_release._release(ground.scene)
    assert ground.told[-1] == "mark stopped"
    assert not any(what.startswith("replace") for what in ground.told)
