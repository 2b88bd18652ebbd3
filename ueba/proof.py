"""How good the scoring of a made-up organisation is, beside the control that must lose."""

import json
from collections.abc import Callable
from typing import Any

from ueba.errors import UebaError
from ueba.evidence import compute_evidence
from ueba.features.days import make_days, read_days
from ueba.feedback import begun_anew
from ueba.generator.scenarios import BY_CODE
from ueba.settings import Settings
from ueba.store import Home
from ueba.trial import burden, judge_trial, rank_by_control, rank_by_layers, read_injected, run_trial


def try_home(home: Home, settings: Settings, seed: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Return the trial's figures by scenario, and the burden by role and branch, as JSON has them."""
    labels = home.root / "labels.json"
    if not labels.exists():
        raise UebaError(f"{labels}: missing; needs a home made by `biyi ueba generate`")
    document = json.loads(labels.read_text(encoding="utf-8"))
    injected = read_injected(document)
    days = home.require_events()
    told("figures of the days")
    make_days(home, days, settings)
    told("evidence")
    register = home.read_register("staff")
    evidence = compute_evidence(read_days(home, days), settings, anew=begun_anew(register, ()))
    first = min(one.days[0] for one in injected)
    found: dict[str, Any] = {"plan": document["plan"], "seed": seed, "settings": settings.plain()}
    rankings = {
        "layers": rank_by_layers(evidence, register, settings, told),
        "control": rank_by_control(evidence, first, settings),
    }
    for name, rank in rankings.items():
        course = run_trial(evidence, rank, injected, settings, register=register, seed=seed, first=first)
        found[name] = judge_trial(
            course, injected, lambda one: BY_CODE[one.scenario].is_slow(one.intensity), first
        )
        if name == "layers":
            groups = {key: dict(zip(register["staff"].to_pylist(), register[key].to_pylist(), strict=True))
                      for key in ("role", "branch")}  # fmt: skip
            found["burden"] = {key: list(burden(course, group)) for key, group in groups.items()}
    return found
