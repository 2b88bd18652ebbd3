"""The documents that decide: a bad one refuses the start and is named, versions hold from their day."""

import datetime as dt
from typing import Any

import pytest
from pydantic import ValidationError

from core_app.decisions.policy import Policy
from core_app.decisions.purge import find_ends
from core_app.decisions.risk import make_risk, read_risk
from core_app.errors import DocumentInvalid
from core_app.rules.read import read_rulebook

RISK = read_risk()
PLAIN = RISK.policy.model_dump(mode="json")
CARDS = [model.card for model in RISK.versions]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"tiers": PLAIN["tiers"][::-1]}, "falling to 0"),
        ({"tiers": PLAIN["tiers"][:2]}, "falling to 0"),
        ({"bureau": {"without_answer": PLAIN["bureau"]["without_answer"] | {"timeout": "Z"}}}, "no tier"),
        ({"windows_unknown": "zero"}, "windows_unknown"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_bad_policy_is_refused(change: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        Policy.model_validate(PLAIN | change)


@pytest.mark.parametrize("name", ["bureau.colour", "sub.credit-main", "var.no_such_variable"])
def test_a_card_that_needs_what_there_is_not_is_refused_at_start(name: str) -> None:
    card = CARDS[0].model_copy(
        update={"terms": (CARDS[0].terms[0].model_copy(update={"input": name}), *CARDS[0].terms[1:])}
    )
    with pytest.raises(DocumentInvalid, match=name.removeprefix("var.")):
        make_risk(RISK.policy, RISK.registry, [card, *CARDS[1:]], RISK.sources)


def test_a_newer_version_of_a_card_holds_from_its_day() -> None:
    newer = next(card for card in CARDS if card.id == "credit-main").model_copy(
        update={"version": 2, "valid_from": dt.date(2026, 6, 1)}
    )
    risk = make_risk(RISK.policy, RISK.registry, [*CARDS, newer], RISK.sources)
    days = (dt.date(2026, 5, 31), dt.date(2026, 6, 1))
    assert [risk.models_on(day).main.card.version for day in days] == [1, 2]
    with pytest.raises(DocumentInvalid, match="no version in force"):
        risk.models_on(dt.date(2020, 1, 1))


def test_what_day_end_purges_is_kept_as_long_as_the_registry_promises() -> None:
    sources, rulebook = read_risk().sources, read_rulebook()
    day = dt.date(2026, 1, 15)
    ends = find_ends(rulebook, day)
    for source, before in (("device", ends.evidence_before), ("bureau", ends.reports_before)):
        assert (day - before).days == sources.by_id[source].retention_days
