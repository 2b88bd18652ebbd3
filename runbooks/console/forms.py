"""What protects a browser's session: headers, cookies, form tokens. Pure.

A form's token is made of the browser's own secrets (session and a nonce), so it outlives a restart of the
console and is worthless elsewhere. Sources: OWASP cheat sheets on CSRF ("HMAC based") and on HTTP headers.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SESSION, NONCE, LANGUAGE = "__Host-biyi", "__Host-biyi-form", "__Host-biyi-lang"
"""Cookies: the session's token, the form nonce, the language. `__Host-`: this host only, all paths, TLS."""
_TOKEN = re.compile(r"s1\.[A-Za-z0-9_-]{20,100}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{40,60}")
_BACK = re.compile(r"/(?!/)[A-Za-z0-9/_.-]{0,200}")
_SAME_ORIGIN = frozenset({"same-origin", "none", ""})
_LASTING_SECONDS: Final = 365 * 86_400
"""Of what is no secret: the language."""

CSP: Final = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
)
REPORT_CSP: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
"""Of a drill's report: one file with its own style and drawings, no script, no origin of ours."""
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-security-policy": CSP,
        "strict-transport-security": "max-age=31536000",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
)
"""Of every answer, unless it brings a stricter or a fitting one of its own."""


def make_cookie(name: str, value: str) -> str:
    """Return a Set-Cookie line; an empty value takes the cookie away.

    >>> make_cookie(SESSION, "")
    '__Host-biyi=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0'
    """
    line = f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict"
    if not value:
        return line + "; Max-Age=0"
    return line + (f"; Max-Age={_LASTING_SECONDS}" if name == LANGUAGE else "")


def read_token(cookies: Mapping[str, str]) -> str | None:
    """Return the session's token of a request's cookies; None when there is none that could be one."""
    found = cookies.get(SESSION, "")
    return found if _TOKEN.fullmatch(found) else None


def read_nonce(cookies: Mapping[str, str]) -> str | None:
    """Return the form nonce of a request's cookies; None when there is none that could be one."""
    found = cookies.get(NONCE, "")
    return found if _NONCE.fullmatch(found) else None


def make_form_token(nonce: str, token: str | None) -> str:
    """Return what a form of this browser and session carries."""
    return hmac.new(nonce.encode(), f"biyi console form {token or ''}".encode(), hashlib.sha256).hexdigest()


def is_own_form(fields: Mapping[str, str], cookies: Mapping[str, str], fetch_site: str) -> bool:
    """Say whether a form was sent from a page of ours; `fetch_site` is the header Sec-Fetch-Site, "" if none.

    Origin is not asked: under `no-referrer` browsers write null there.
    """
    nonce = read_nonce(cookies)
    if nonce is None or fetch_site not in _SAME_ORIGIN:
        return False
    return hmac.compare_digest(
        make_form_token(nonce, read_token(cookies)).encode(), fields.get("form", "").encode()
    )


def find_back(fields: Mapping[str, str]) -> str:
    """Return the page of ours that a form wants to go back to.

    >>> find_back({"back": "/drills"}), find_back({"back": "//evil.example"}), find_back({})
    ('/drills', '/', '/')
    """
    back = fields.get("back", "/")
    return back if _BACK.fullmatch(back) else "/"
