"""Documents of marketing: prices within the rules of their day, texts that say what they are, the score."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core_app.decisions.risk import read_risk
from core_app.errors import DocumentInvalid
from core_app.marketing.campaign import Message, make_messages
from core_app.marketing.channels import ChannelPrice, check_prices, show_prices
from core_app.marketing.read import read_channel_prices, read_messages, read_page_events, read_score
from core_app.marketing.train import train_score
from core_app.products.references import read_sources
from core_app.rules.read import read_rulebook
from runbooks.risk import FIRST_DAY, TRAINING_ROWS, TRAINING_SEED
from tests.unit.core_app.product_documents import make_product

PRICE = {"contract": "CH-1-01", "channel": "app", "per": "approval", "fen": 8_000, "from": "2026-01-01"}
MESSAGE = read_messages()["coupon_waiting"].model_dump(by_alias=True)


def price(**more: Any) -> ChannelPrice:
    return ChannelPrice.model_validate(PRICE | more)


def test_what_ships_is_in_order() -> None:
    assert {one.channel for one in read_channel_prices()} == {"app", "web", "merchant_code"}
    assert read_page_events()[0].id == "register_opened"
    assert set(read_messages()) == {"coupon_waiting", "products_for_you"}


def test_a_price_at_the_rules_limit_is_paid_and_a_fen_more_is_not() -> None:
    check_prices([price()], read_rulebook())
    with pytest.raises(DocumentInvalid, match=r"CH-1-01 pays 8001 .* channel.approval_most allows 8000"):
        check_prices([price(fen=8_001)], read_rulebook())
    share = {"per": "drawn_share", "fen": None}
    check_prices([price(**share, share="0.01")], read_rulebook())
    with pytest.raises(DocumentInvalid, match="drawn_share_most"):
        check_prices([price(**share, share="0.0101")], read_rulebook())


@pytest.mark.parametrize(
    "more",
    [
        {"per": "interest_share", "fen": None, "share": "0.3"},
        {"per": "drawn_share"},
        {"share": "0.01"},
        {"fen": None},
        {"fen": 0},
        {"to": "2025-12-31"},
    ],
)
def test_a_share_of_interest_and_a_price_without_its_figure_are_no_prices(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        price(**more)


def test_a_channel_is_paid_for_a_thing_by_one_contract_a_day() -> None:
    later = {"contract": "CH-1-02", "from": "2026-07-01"}
    with pytest.raises(DocumentInvalid, match="CH-1-01 and CH-1-02 both pay app per approval"):
        check_prices([price(), price(**later)], read_rulebook())
    ended = [price(to="2026-06-30"), price(**later, fen=7_000)]
    check_prices(ended, read_rulebook())
    for day, fen in ((dt.date(2026, 6, 30), 8_000), (dt.date(2026, 7, 1), 7_000)):
        assert [one["fen"] for one in show_prices(ended, day)] == [fen]
    assert show_prices(ended, dt.date(2025, 12, 31)) == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh", "您有一张利息抵扣券待使用。不想再收到，可关闭营销授权。"),
        ("en", "[Advertisement] A coupon for your interest is waiting."),
    ],
)
def test_a_text_says_that_it_is_an_advertisement_and_how_to_end_it(language: str, text: str) -> None:
    with pytest.raises(ValidationError, match=language):
        Message.model_validate(MESSAGE | {language: text})


def test_a_text_with_a_forbidden_promise_is_refused() -> None:
    bad = Message.model_validate(MESSAGE | {"en": MESSAGE["en"] + " Risk-FREE."})
    with pytest.raises(DocumentInvalid, match=r"coupon_waiting: risk-free, which ads.phrase forbids"):
        make_messages([bad], read_rulebook())


def test_no_product_may_ask_for_what_was_agreed_to_for_offers_or_pages() -> None:
    named = make_product({"risk.data_sources": ["application", "marketing", "page_events"]})
    assert read_sources().find_unknown(named) == ("marketing", "page_events")


def test_the_marketing_score_is_trained_from_its_seed_and_no_decision_can_name_it() -> None:
    shipped, trained = read_score().card, train_score(TRAINING_SEED, TRAINING_ROWS, FIRST_DAY)
    assert [term.input for term in trained.terms] == [term.input for term in shipped.terms]
    weights = [(term.weight, term.missing_weight) for term in trained.terms]
    assert np.allclose(weights, [(t.weight, t.missing_weight) for t in shipped.terms], atol=1e-4)
    assert trained.measured.auc == pytest.approx(shipped.measured.auc, abs=1e-3)
    assert shipped.measured.auc > 0.6
    assert "synthetic" in shipped.trained_on
    with pytest.raises(DocumentInvalid, match="marketing-response: no version in force"):
        read_risk().find_model(shipped.id, dt.date(2026, 6, 1))
    # Its variables are not computed for anybody who applies.
    assert "days_since_draw" not in read_risk().history.names
