"""Who is let in follows what the core says, and for how long its last word holds."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from runbooks.console.entrance import REMEMBERED_SECONDS, Account, Entrance, Person, Refusal, find_refusal

TOKEN = "s1." + "a" * 43
ADDRESS = "192.0.2.7"


def session_of(scope: str, *roles: str) -> dict[str, Any]:
    return {"token": TOKEN, "staff": "an.bo", "branch": "head", "roles": list(roles), "scope": scope}


GOOD = session_of("full", "system_admin")
PERSON = Person("an.bo", "head", frozenset({"system_admin"}))


@dataclass(slots=True)
class Core:
    """What a core would answer next, and what it was asked."""

    answer: tuple[int, Any] | None = None
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    now_s: float = 0.0

    async def __call__(
        self, method: str, path: str, address: str, *, token: str = "", body: object = None, more: Any = None
    ) -> tuple[int, Any] | None:
        self.asked.append((method, path, address, token))
        return self.answer

    def entrance(self) -> Entrance:
        return Entrance(self, lambda: self.now_s)


@pytest.mark.parametrize(
    ("scope", "roles", "refusal"),
    [
        ("full", ["service"], None),
        ("full", ["security_admin"], None),
        ("full", ["no_such_role"], Refusal.NOT_ALLOWED),
        ("full", [], Refusal.NOT_ALLOWED),
        ("enrol", ["system_admin"], Refusal.ENROL),
        ("password", ["system_admin"], Refusal.PASSWORD),
        ("full", ["system_admin"], None),
    ],
)
def test_who_has_a_page_at_all(scope: str, roles: list[str], refusal: Refusal | None):
    assert find_refusal(session_of(scope, *roles)) is refusal


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ((401, {}), Refusal.NOT_ACCEPTED),
        ((422, {}), Refusal.NOT_ACCEPTED),
        ((429, {}), Refusal.BUSY),
        ((503, {}), Refusal.UNREACHABLE),
        ((500, {}), Refusal.UNREACHABLE),
        (None, Refusal.UNREACHABLE),
    ],
)
async def test_a_sign_in_that_the_core_does_not_take_opens_nothing(answer: Any, refusal: Refusal):
    assert await Core(answer).entrance().sign_in("an.bo", "x", "", ADDRESS) is refusal


async def test_a_session_of_somebody_who_may_not_see_is_ended_at_once():
    core = Core((201, session_of("full")))
    assert await core.entrance().sign_in("li.wei", "x", "", ADDRESS) is Refusal.NOT_ALLOWED
    assert core.asked[-1] == ("POST", "/v1/staff/logout", ADDRESS, TOKEN)


@pytest.mark.parametrize("scope", ["password", "enrol"])
async def test_a_session_with_something_to_do_first_is_kept_for_just_that(scope: str):
    core = Core((201, session_of(scope, "system_admin")))
    entrance = core.entrance()
    assert await entrance.sign_in("an.bo", "x", "", ADDRESS) == TOKEN
    assert [path for _, path, _, _ in core.asked] == ["/v1/staff/sessions"]
    core.answer = 200, session_of(scope, "system_admin")
    assert await entrance.find_person(TOKEN, ADDRESS, uses=True) is Refusal(scope)
    assert await entrance.find_account(TOKEN, ADDRESS) == Account(PERSON, scope)
    for answer, refusal in (
        ((401, {}), Refusal.OVER),
        ((503, {}), Refusal.UNREACHABLE),
        (None, Refusal.UNREACHABLE),
    ):
        core.answer = answer
        assert await entrance.find_account(TOKEN, ADDRESS) is refusal


async def test_the_core_is_told_where_the_browser_is_and_whether_the_session_is_used():
    core = Core((200, GOOD))
    entrance = core.entrance()
    assert await entrance.find_person(TOKEN, ADDRESS, uses=True) == PERSON
    assert await entrance.find_person(TOKEN, ADDRESS, uses=False) == PERSON
    assert core.asked == [
        ("GET", "/v1/staff/me", ADDRESS, TOKEN), ("GET", "/v1/staff/standing", ADDRESS, TOKEN),
    ]  # fmt: skip


@pytest.mark.parametrize("silence", [None, (503, {}), (429, {}), (500, {})])
async def test_the_last_word_holds_a_while_and_no_longer(silence: Any):
    core = Core((200, GOOD))
    entrance = core.entrance()
    await entrance.find_person(TOKEN, ADDRESS, uses=True)
    core.answer = silence
    core.now_s = REMEMBERED_SECONDS
    assert isinstance(await entrance.find_person(TOKEN, ADDRESS, uses=True), Person)
    core.now_s += 0.1
    assert await entrance.find_person(TOKEN, ADDRESS, uses=True) is Refusal.UNREACHABLE
    assert await entrance.find_person(TOKEN + "b", ADDRESS, uses=True) is Refusal.UNREACHABLE


@pytest.mark.parametrize("word", [(401, {}), (200, session_of("full")), "signed out"])
async def test_a_session_that_is_over_is_forgotten(word: Any):
    core = Core((200, GOOD))
    entrance = core.entrance()
    await entrance.find_person(TOKEN, ADDRESS, uses=True)
    if word == "signed out":
        await entrance.sign_out(TOKEN, ADDRESS)
    else:
        core.answer = word
        assert isinstance(await entrance.find_person(TOKEN, ADDRESS, uses=False), Refusal)
    core.answer = None
    assert await entrance.find_person(TOKEN, ADDRESS, uses=True) is Refusal.UNREACHABLE


async def test_only_so_many_are_remembered():
    core = Core((200, GOOD))
    entrance = core.entrance()
    await entrance.find_person(TOKEN, ADDRESS, uses=True)
    for number in range(1000):
        await entrance.find_person(f"s1.{number}", ADDRESS, uses=True)
    core.answer = None
    assert await entrance.find_person(TOKEN, ADDRESS, uses=True) is Refusal.UNREACHABLE
    assert isinstance(await entrance.find_person("s1.999", ADDRESS, uses=True), Person)
