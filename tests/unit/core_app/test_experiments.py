"""Experiments: shares hold on 100,000 customers, two are independent, growth takes from the rest only."""

import datetime as dt
import math
from functools import cache
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from core_app.errors import DocumentInvalid
from core_app.insight.experiment import (
    PARTS,
    REST,
    Experiment,
    assign,
    compute_part,
    find_changes,
    make_experiments,
)
from core_app.insight.experiments import read_experiments
from core_app.notices.texts import DUE_WORDING, HELP_OFFERED, make_text
from core_app.slots import compute_slot

KEY = bytes(range(32))
DAY = dt.date(2026, 3, 1)
PEOPLE = 100_000
PINNED = 5283
SIGMAS = 4.5
"""Bound of a binomial count, in standard deviations: a fair deal lies outside once in 147,000 times."""


def make(*shares: tuple[str, str, int], salt: str = "0123456789abcdef", **more: Any) -> Experiment:
    rows = [{"from": day, "group": group, "parts": parts} for day, group, parts in shares]
    return Experiment.model_validate(
        {
            "id": "test-of-two", "salt": salt, "owner": "risk", "question": {"zh": "问", "en": "which"},
            "from": dt.date(2026, 1, 1), "to": dt.date(2026, 12, 31), "groups": ("one", "two"),
            "shares": tuple(row | {"from": dt.date.fromisoformat(row["from"])} for row in rows),
        }
        | more
    )  # fmt: skip


@cache
def parts(salt: str) -> tuple[int, ...]:
    return tuple(compute_part(KEY, salt, f"C{number:024x}") for number in range(PEOPLE))


def groups(experiment: Experiment, day: dt.date = DAY) -> list[str | None]:
    by_part = [experiment.group_of_part(part, day) for part in range(PARTS)]
    return [by_part[part] for part in parts(experiment.salt)]


def assert_share(count: int, share: float, of: int = PEOPLE) -> None:
    assert abs(count - of * share) <= SIGMAS * math.sqrt(of * share * (1 - share)), (count, of * share)


def test_shares_are_those_of_the_document_on_a_hundred_thousand_customers() -> None:
    found = groups(make(("2026-01-01", "one", 1_000), ("2026-01-01", "two", 2_500)))
    for group, share in (("one", 0.1), ("two", 0.25), (REST, 0.65)):
        assert_share(found.count(group), share)
    smallest = groups(make(("2026-01-01", "one", 1)))
    assert_share(smallest.count("one"), 1 / PARTS)


def test_a_share_that_is_not_the_documents_would_be_found() -> None:
    with pytest.raises(AssertionError):
        assert_share(groups(make(("2026-01-01", "one", 1_000))).count("one"), 0.105)


def test_two_experiments_know_nothing_of_each_other_nor_of_where_customers_live() -> None:
    half = ("2026-01-01", "one", 5_000)
    first, second = groups(make(half)), groups(make(half, salt="fedcba9876543210"))
    together = list(zip(first, second, strict=True))
    for pair in product(("one", REST), repeat=2):
        assert_share(together.count(pair), 0.25)
    sites = [compute_slot(KEY, f"C{number:024x}") < 512 for number in range(PEOPLE)]
    both = sum(lives and group == "one" for lives, group in zip(sites, first, strict=True))
    assert_share(both, 0.25)


def test_the_same_salt_would_be_a_correlation_and_is_refused() -> None:
    one = make(("2026-01-01", "one", 5_000))
    found = groups(one)
    with pytest.raises(AssertionError):
        assert_share(sum(a == b == "one" for a, b in zip(found, found, strict=True)), 0.25)
    with pytest.raises(DocumentInvalid, match="twice"):
        make_experiments((one, one.model_copy(update={"id": "another-one"})))


def test_a_share_that_grows_moves_customers_into_its_group_only_and_only_from_its_day_on() -> None:
    before = make(("2026-01-01", "one", 1_000), ("2026-01-01", "two", 2_000))
    after = make(*((str(g.first_day), g.group, g.parts) for g in before.shares), ("2026-03-01", "one", 1_500))
    was, becomes = groups(before), groups(after)
    moved = {(a, b) for a, b in zip(was, becomes, strict=True) if a != b}
    assert moved == {(REST, "one")}
    assert_share(becomes.count("one"), 0.25)
    assert groups(after, dt.date(2026, 2, 28)) == was
    assert find_changes(before, after) == ()


def test_a_newer_document_that_would_move_people_between_groups_is_named() -> None:
    before = make(("2026-01-01", "one", 1_000), ("2026-01-01", "two", 2_000))
    resized = make(("2026-01-01", "one", 900), ("2026-01-01", "two", 2_000))
    assert len(find_changes(before, resized)) == 1
    assert len(find_changes(before, make(("2026-01-01", "one", 1_000)))) == 1
    assert len(find_changes(before, before.model_copy(update={"salt": "f" * 16}))) == 1


def test_a_customer_stays_where_they_are_and_the_key_decides() -> None:
    experiment = make(("2026-01-01", "one", 5_000))
    customer_id = "C0123456789abcdef01234567"
    # Kept, so that no release deals everybody anew: computed by this code on its first day.
    assert compute_part(KEY, experiment.salt, customer_id) == PINNED
    found = {assign(experiment, KEY, customer_id, DAY + dt.timedelta(days=n)) for n in range(200)}
    assert len(found) == 1
    other = [compute_part(bytes(32), experiment.salt, f"C{number:024x}") for number in range(1_000)]
    assert sum(a == b for a, b in zip(other, parts(experiment.salt), strict=False)) < 5


def test_outside_its_days_an_experiment_assigns_nobody() -> None:
    experiment = make(("2026-02-01", "one", PARTS), **{"to": dt.date(2026, 2, 10)})
    days = ("2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01", "2026-02-10", "2026-02-11")
    found = [experiment.group_of_part(0, dt.date.fromisoformat(day)) for day in days]
    assert found == [None, REST, REST, "one", "one", None]


@pytest.mark.parametrize(
    ("shares", "more", "fault"),
    [
        ([("2026-01-01", "three", 1)], {}, "not among groups"),
        ([("2025-12-31", "one", 1)], {}, "no day of the experiment"),
        ([("2026-01-02", "one", 1), ("2026-01-01", "one", 1)], {}, "added at the end"),
        ([("2026-01-01", "one", PARTS), ("2026-01-01", "two", 1)], {}, "10001 parts"),
        ([("2026-01-01", "one", 1)], {"groups": ("one", REST)}, "in no group"),
        ([("2026-01-01", "one", 1)], {"salt": "short"}, "salt"),
        ([("2026-01-01", "one", 0)], {}, "parts"),
    ],
)
def test_a_document_that_cannot_be_is_refused(shares: list[Any], more: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        make(*shares, **more)


def test_the_shipped_experiment_words_due_reminders_and_nothing_else() -> None:
    experiment = read_experiments()[DUE_WORDING]
    assert HELP_OFFERED in experiment.groups
    about = dt.date(2026, 2, 15)
    plain, told = make_text("due", about, 110_016), make_text("due", about, 110_016, HELP_OFFERED)
    assert plain == make_text("due", about, 110_016, REST)
    assert [len(text.splitlines()) for text in (plain, told)] == [2, 2]
    assert all(a in b and a != b for a, b in zip(plain.split("。\n"), told.split("。\n"), strict=False))
    assert make_text("overdue", about, 1, HELP_OFFERED) == make_text("overdue", about, 1)
