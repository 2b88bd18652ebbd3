"""Exposure and price in words for the operator."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from replication.failover.force import Objection
from replication.failover.price import compute_price
from replication.journal import encode
from runbooks.exposure import NOTHING, UNKNOWN, compute_exposure, word_exposure, word_yuan
from runbooks.promote import OBJECTIONS, word_price
from tests.unit.replication.test_decide import ALONE, LIMITS, SYNC
from tests.unit.replication.test_force import KNOWN, LOCAL_ONLY, seen

NOW = datetime(2026, 11, 22, 12, 1, 0, tzinfo=UTC)
PUBLISHED = {"idc": {"a": encode(KNOWN)}}


def test_with_a_sync_copy_at_the_other_site_nothing_is_at_risk_whatever_was_published():
    assert compute_exposure(encode(SYNC), PUBLISHED, NOW) == NOTHING
    assert word_exposure(NOTHING) == "nothing"


@pytest.mark.parametrize("grant", [ALONE, LOCAL_ONLY])
def test_without_one_the_figures_are_the_primarys_own(grant):
    found = compute_exposure(encode(grant), PUBLISHED, NOW)
    assert found == {
        "exposed_bytes": 400, "commits": 7, "moved_fen": 1234, "age_s": 60.0, "known_age_s": 30.0
    }  # fmt: skip
    assert word_exposure(found) == "400 B, 7 commits, ¥12.34, since 60 s"


def test_figures_of_another_epoch_are_unknown_not_zero():
    assert compute_exposure(encode(replace(ALONE, epoch=6)), PUBLISHED, NOW) == UNKNOWN
    assert compute_exposure(encode(ALONE), {}, NOW) == UNKNOWN
    assert word_exposure(UNKNOWN) == "unknown"


def test_yuan_are_written_without_rounding():
    assert [word_yuan(fen) for fen in (0, 5, 123456789, None)] == [
        "¥0.00", "¥0.05", "¥1,234,567.89", "unknown yuan"
    ]  # fmt: skip


def test_every_objection_is_told_in_words():
    assert set(OBJECTIONS) == set(Objection)


def test_the_price_says_what_is_lost_and_what_is_not_known():
    known = "\n".join(word_price(encode(compute_price(seen(), KNOWN, (), LIMITS))))
    assert "at most 7" in known
    assert "at most ¥12.34" in known
    assert "300 B" in known
    unknown = "\n".join(word_price(encode(compute_price(seen(), None, (), LIMITS))))
    assert "unknown" in unknown
    assert "at most" not in unknown
