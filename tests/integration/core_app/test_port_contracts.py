"""What each port to the outside promises, asked of the fake; a real adapter has to pass the same.

Each fixture makes one adapter; an adapter of a real vendor is a further parameter of it.
"""

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core_app.customers.document_reader import DocumentReader, DocumentUnreadable, IdCard, ReaderUnavailable
from core_app.customers.fake_document_reader import FakeDocumentReader
from core_app.customers.fake_identity_vendor import FakeIdentityVendor
from core_app.customers.fake_service_bot import FakeServiceBot
from core_app.customers.identity_vendor import (
    Check,
    Finding,
    IdentityQuestion,
    IdentityVendor,
    VendorUnavailable,
    ask_vendors,
)
from core_app.customers.service_bot import BotUnavailable, ServiceBot, ask_bot
from core_app.decisions.bureau import Bureau, BureauQuestion, BureauUnavailable, ask_bureau
from core_app.decisions.bureau_report import BureauReport
from core_app.decisions.fake_bureau import FakeBureau
from core_app.decisions.fake_outside_source import FakeOutsideSource
from core_app.decisions.outside_source import (
    OutsideSource,
    SourceQuestion,
    SourceUnavailable,
    ask_source,
)
from core_app.notices.fake_gateway import FakeMessageGateway
from core_app.notices.gateway import Delivery, Message, MessageGateway
from core_app.products.references import read_sources
from core_app.servicing.fake_opinions import FakeOpinionFeed
from core_app.servicing.fake_voice import FakeVoiceRobot
from core_app.servicing.opinions import OpinionFeed, Post
from core_app.servicing.voice import Call, Called, VoiceRobot

NAME, KNOWN, STRANGER = "张三丰", "11010519491231002X", "110105194912310038"
SOURCES = read_sources().by_id
SAID: Mapping[str, Mapping[str, int]] = {
    "utilities": {"months_known": 48, "months_paid_late": 1},
    "education": {"level": 4},
    "registry": {"companies": 0, "dishonest_entries": 0},
}


@pytest.fixture(params=["fake"])
def bureau() -> Bureau:
    return FakeBureau()


@pytest.fixture(params=["fake"])
def vendor() -> IdentityVendor:
    return FakeIdentityVendor("vendor_a", frozenset({Check.POLICE_MATCH}), {STRANGER})


@pytest.fixture(params=sorted(SAID))
def outside(request: pytest.FixtureRequest) -> OutsideSource:
    return FakeOutsideSource(request.param, {}, {KNOWN: SAID[request.param]})


@pytest.fixture(params=["fake"])
def reader() -> DocumentReader:
    return FakeDocumentReader({"img-0001": IdCard(NAME, KNOWN)})


@pytest.fixture(params=["fake"])
def bot() -> ServiceBot:
    return FakeServiceBot()


@pytest.fixture(params=["fake"])
def gateway(tmp_path: Path) -> MessageGateway:
    return FakeMessageGateway(tmp_path / "book")


async def test_a_bureau_answers_a_whole_report_under_an_authorisation_and_none_without(
    bureau: Bureau,
) -> None:
    answers = [await bureau.inquire(BureauQuestion("auth-0001", NAME, KNOWN)) for _ in range(2)]
    assert answers[0] == answers[1]
    report = BureauReport.model_validate(answers[0])
    assert 0 <= report.score <= 1000
    json.dumps(dict(answers[0]))
    with pytest.raises(BureauUnavailable):
        await bureau.inquire(BureauQuestion("", NAME, KNOWN))
    assert NAME not in repr(BureauQuestion("auth-0001", NAME, KNOWN))


@pytest.mark.parametrize(
    ("bureau", "why"),
    [
        (FakeBureau(down=True), "unavailable"),
        (FakeBureau(delay_ms=2000), "timeout"),
        (FakeBureau(usual={"score": "720"}), "unreadable"),
    ],
)
async def test_whatever_a_bureau_does_is_a_reason_and_never_an_error(bureau: Bureau, why: str) -> None:
    question = BureauQuestion("auth-0001", NAME, KNOWN)
    answer = await ask_bureau(bureau, question, 50, lambda: 0.0)
    assert (answer.report, answer.missing) == (None, why)


async def test_a_vendor_answers_for_the_checks_it_names_with_a_number_of_its_own(
    vendor: IdentityVendor,
) -> None:
    passed = [await vendor.check(IdentityQuestion(Check.POLICE_MATCH, NAME, KNOWN)) for _ in range(2)]
    assert [one.passed for one in passed] == [True, True]
    assert passed[0].reference != passed[1].reference
    failed = await vendor.check(IdentityQuestion(Check.POLICE_MATCH, NAME, STRANGER))
    assert not failed.passed
    for check in set(Check) - vendor.checks:
        with pytest.raises(VendorUnavailable):
            await vendor.check(IdentityQuestion(check, NAME, KNOWN))
    assert KNOWN not in repr(IdentityQuestion(Check.POLICE_MATCH, NAME, KNOWN))


async def test_a_silent_vendor_gives_way_and_nobody_left_is_unavailable() -> None:
    question = IdentityQuestion(Check.FACE_LIVENESS, NAME, KNOWN)
    slow, down = FakeIdentityVendor("slow", delay_ms=2000), FakeIdentityVendor("down", down=True)
    found = await ask_vendors((slow, down, FakeIdentityVendor("last")), question, 50)
    assert (found.finding, found.vendor) == (Finding.PASSED, "last")
    assert (await ask_vendors((slow, down), question, 50)).finding is Finding.UNAVAILABLE


async def test_a_source_answers_by_the_registrys_names_and_knows_nothing_of_a_stranger(
    outside: OutsideSource,
) -> None:
    source = SOURCES[outside.id]
    answer = await outside.fetch(SourceQuestion("consent-0001", NAME, KNOWN))
    assert source.read_answer(answer) == dict(answer)
    assert dict(await outside.fetch(SourceQuestion("consent-0001", NAME, STRANGER))) == {}
    with pytest.raises(SourceUnavailable):
        await outside.fetch(SourceQuestion("", NAME, KNOWN))


@pytest.mark.parametrize("broken", [{"level": 10}, {"level": "4"}, {"level": True}])
async def test_an_answer_beyond_the_registrys_bounds_is_none(broken: Any) -> None:
    question = SourceQuestion("consent-0001", NAME, KNOWN)
    assert (
        await ask_source(FakeOutsideSource("education", broken), SOURCES["education"], question, 50) is None
    )
    slow = FakeOutsideSource("education", {"level": 4}, delay_ms=2000)
    assert await ask_source(slow, SOURCES["education"], question, 50) is None


async def test_a_reader_reads_a_picture_by_its_number_and_says_when_it_cannot(reader: DocumentReader) -> None:
    cards = [await reader.read_id_card("img-0001") for _ in range(2)]
    assert [(card.name, card.id_number) for card in cards] == [(NAME, KNOWN)] * 2
    with pytest.raises(DocumentUnreadable):
        await reader.read_id_card("img-9999")
    assert NAME not in repr(cards[0])
    with pytest.raises(ReaderUnavailable):
        await FakeDocumentReader(down=True).read_id_card("img-0001")


async def test_a_bot_answers_by_an_article_and_hands_over_what_is_no_question(bot: ServiceBot) -> None:
    for question, language in (("提前还款怎么办", "zh"), ("How do I prepay?", "en")):
        answer = await bot.ask(question, language)  # type: ignore[arg-type]
        assert answer.text
        assert answer.article
    for question in ("我要投诉", "I want to make a complaint about prepay", "Who are you?"):
        assert (await bot.ask(question, "en")).hands_over


async def test_what_goes_wrong_with_a_bot_is_handed_over() -> None:
    with pytest.raises(BotUnavailable):
        await FakeServiceBot(down=True).ask("prepay", "en")
    for bot in (None, FakeServiceBot(down=True)):
        assert (await ask_bot(bot, "prepay", "en")).hands_over


@pytest.fixture(params=["fake"])
def robot(tmp_path: Path) -> VoiceRobot:
    return FakeVoiceRobot(tmp_path / "calls", silent=frozenset({"13800138001"}))


async def test_a_robot_places_a_call_once_says_who_answered_and_remembers(
    robot: VoiceRobot, tmp_path: Path
) -> None:
    call = Call("U000-1", "Words.", "13800138000")
    assert [await robot.call(call) for _ in range(3)] == [Called.ANSWERED] * 3
    assert await robot.call(Call("U000-2", "Words.", "13800138001")) is Called.NO_ANSWER
    assert await robot.call(Call("U000-3", "Words.", "not a number")) is Called.REFUSED
    assert await robot.call(Call("U000-3", "Words.", "13800138000")) is Called.REFUSED
    after_a_crash = FakeVoiceRobot(tmp_path / "calls")
    assert await after_a_crash.call(Call("U000-2", "Words.", "13800138001")) is Called.NO_ANSWER
    assert len(after_a_crash.placed()) == 3
    assert "13800138000" not in (tmp_path / "calls").read_text(encoding="utf-8")
    assert "13800138000" not in repr(call)


@pytest.fixture(params=["fake"])
def feed() -> OpinionFeed:
    at = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)
    return FakeOpinionFeed([Post(n, "heimao", str(n), "service", at) for n in (3, 1, 2)])


async def test_a_feed_gives_the_posts_after_a_place_in_order_and_again(feed: OpinionFeed) -> None:
    for _ in range(2):
        assert [post.place for post in await feed.read(0, 2)] == [1, 2]
    assert [post.place for post in await feed.read(2, 9)] == [3]
    assert list(await feed.read(3, 9)) == []


async def test_a_letter_needs_no_phone_and_is_delivered_once(gateway: MessageGateway) -> None:
    letter = Message("U000-4", "letter", "Text.", "C0123456789abcdef01234567")
    assert [await gateway.send(letter) for _ in range(2)] == [Delivery.DELIVERED] * 2


async def test_a_gateway_delivers_a_number_once_and_remembers_what_it_said(
    gateway: MessageGateway, tmp_path: Path
) -> None:
    message = Message("N000-1", "sms", "Text.", "13800138000")
    assert [await gateway.send(message) for _ in range(3)] == [Delivery.DELIVERED] * 3
    bad = (Message("N000-2", "sms", "Text.", "not a number"), Message("N000-3", "pigeon", "Text.", "C0"))
    for one in bad:
        assert await gateway.send(one) is Delivery.REFUSED
    assert await gateway.send(Message("N000-2", "sms", "Text.", "13800138000")) is Delivery.REFUSED
    after_a_crash = FakeMessageGateway(tmp_path / "book")
    assert await after_a_crash.send(message) is Delivery.DELIVERED
    assert len(after_a_crash.delivered()) == 3
    assert "13800138000" not in (tmp_path / "book").read_text(encoding="utf-8")
    assert "13800138000" not in repr(message)
