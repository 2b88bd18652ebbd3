"""One's own account: the first password changed, the second factor set up, by whoever has no terminal.

The core decides and keeps; a session that is good for nothing else yet is enough for these pages. The secret
of a second factor stands in one answer, which nobody may keep, and nowhere else.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from runbooks.console.entrance import Account, Refusal, Wish
from runbooks.console.forms import SESSION, make_cookie, read_token
from runbooks.console.frame import (
    address_of,
    console_of,
    find_detail,
    is_own,
    parse_form,
    show_page,
    show_refusal,
)

DONE = frozenset({"password", "factor"})
"""What the sign-in page may be told was just done: the ends of keys `account.done.` of the words."""
_REFUSED = {
    401: "account.old_wrong",
    403: "account.not_done",
    409: "account.not_done",
    422: "account.not_good",
}
Act = Callable[[Request, Account, Mapping[str, str]], Awaitable[Response]]


def entered(act: Act) -> Callable[[Request], Awaitable[Response]]:
    """Return what any open session may do, whatever it is good for; a form has to be one of ours."""

    async def guarded(request: Request) -> Response:
        token = read_token(request.cookies)
        if token is None:
            return RedirectResponse("/sign-in", 303)
        fields = parse_form(await request.body()) if request.method == "POST" else {}
        if request.method == "POST" and not is_own(request, fields):
            return show_page(request, "door.html", 403, reason="door.form")
        account = await console_of(request).entrance.find_account(token, address_of(request))
        if isinstance(account, Refusal):
            return show_refusal(request, account)
        return await act(request, account, fields)

    return guarded


async def show_account(request: Request, account: Account, _fields: Mapping[str, str]) -> Response:
    """Show who is signed in, and what has to be done before anything else."""
    return _show(request, account)


async def post_password(request: Request, account: Account, fields: Mapping[str, str]) -> Response:
    """Change the password; every session of the account ends."""
    old, new = fields.get("old", ""), fields.get("new", "")
    if new != fields.get("again", ""):
        return _show(request, account, 422, wrong="account.differ")
    body = {"old_password": old, "new_password": new}
    return await _act(request, account, "/v1/staff/password", body, "password")


async def post_second_factor(request: Request, account: Account, _fields: Mapping[str, str]) -> Response:
    """Make a secret for an authenticator app and show it, this once."""
    answer = await _ask(request, "/v1/staff/totp", None)
    if answer is None or answer[0] != 201:
        return _refuse(request, account, answer)
    uri = str(answer[1]["uri"])
    return _show(request, account, uri=uri, secret=group(parse_qs(urlsplit(uri).query)["secret"][0]))


async def post_code(request: Request, account: Account, fields: Mapping[str, str]) -> Response:
    """Prove that the secret arrived; the session ends."""
    body = {"code": fields.get("code", "").strip()}
    return await _act(request, account, "/v1/staff/totp-confirmations", body, "factor")


def group(secret: str) -> str:
    """Return a secret in groups of four, as people type it.

    >>> group("AAAABBBBCC")
    'AAAA BBBB CC'
    """
    return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))


async def _act(request: Request, account: Account, path: str, body: object, told: str) -> Response:
    answer = await _ask(request, path, body)
    if answer is None or answer[0] != 200:
        return _refuse(request, account, answer)
    done = RedirectResponse(f"/sign-in?told={told}", 303)
    done.headers.append("set-cookie", make_cookie(SESSION, ""))
    return done


async def _ask(request: Request, path: str, body: object) -> tuple[int, Any] | None:
    token = read_token(request.cookies) or ""
    return await console_of(request).entrance.call(Wish("POST", path, body), token, address_of(request))


def _refuse(request: Request, account: Account, answer: tuple[int, Any] | None) -> Response:
    if answer is None or answer[0] not in _REFUSED:
        return show_refusal(request, Refusal.BUSY if answer and answer[0] == 429 else Refusal.UNREACHABLE)
    # Not 401: the session may be well, and browsers ask for nothing else then.
    return _show(request, account, 422, wrong=_REFUSED[answer[0]], detail=find_detail(answer[1]))


def _show(request: Request, account: Account, status: int = 200, **values: Any) -> Response:
    known: dict[str, Any] = {"wrong": None, "detail": "", "uri": "", "secret": ""}
    person = account.person if account.scope == "full" else None
    return show_page(request, "account.html", status, person=person, account=account, **(known | values))


ROUTES = [
    Route("/account", entered(show_account), methods=["GET"]),
    Route("/account/password", entered(post_password), methods=["POST"]),
    Route("/account/second-factor", entered(post_second_factor), methods=["POST"]),
    Route("/account/second-factor/code", entered(post_code), methods=["POST"]),
]
