"""What protects a browser's session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.console.forms import (
    CSP,
    HEADERS,
    LANGUAGE,
    NONCE,
    REPORT_CSP,
    SESSION,
    find_back,
    is_own_form,
    make_cookie,
    make_form_token,
    read_nonce,
    read_token,
)
from runbooks.console.frame import MOST_FIELDS, parse_form

TOKEN, NONCE_VALUE = "s1." + "a" * 43, "n" * 43
COOKIES = {SESSION: TOKEN, NONCE: NONCE_VALUE}
OWN = {"form": make_form_token(NONCE_VALUE, TOKEN)}


def test_the_policy_lets_in_nothing_unsafe_and_nothing_from_elsewhere():
    assert "unsafe" not in CSP
    assert "http" not in CSP
    assert CSP.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in CSP


def test_a_report_is_shut_in():
    parts = [part.strip() for part in REPORT_CSP.split(";")]
    assert parts[:2] == ["sandbox", "default-src 'none'"]
    assert not any(part.startswith("script-src") for part in parts)


def test_every_answer_carries_what_the_checklists_ask_for():
    assert HEADERS["x-content-type-options"] == "nosniff"
    assert HEADERS["referrer-policy"] == "no-referrer"
    assert HEADERS["strict-transport-security"].startswith("max-age=31536000")
    assert HEADERS["cache-control"] == "no-store"
    assert {"permissions-policy", "cross-origin-opener-policy", "x-frame-options"} <= set(HEADERS)


@pytest.mark.parametrize("name", [SESSION, NONCE, LANGUAGE])
def test_a_cookie_is_this_hosts_only_and_no_scripts(name: str):
    line = make_cookie(name, "v")
    assert name.startswith("__Host-")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(line.split("; "))
    assert "Domain" not in line


def test_a_sessions_cookie_ends_with_the_browser_and_an_empty_one_at_once():
    assert "Max-Age" not in make_cookie(SESSION, TOKEN)
    assert "Max-Age=0" in make_cookie(SESSION, "")


def test_a_form_of_this_browser_and_session_is_taken():
    assert is_own_form(OWN, COOKIES, "same-origin")
    assert is_own_form(OWN, COOKIES, "")  # a browser that does not say


@pytest.mark.parametrize(
    ("fields", "cookies", "fetch_site"),
    [
        ({}, COOKIES, "same-origin"),
        ({"form": ""}, COOKIES, "same-origin"),
        ({"form": "é"}, COOKIES, "same-origin"),
        (OWN, COOKIES, "cross-site"),
        (OWN, COOKIES, "same-site"),
        (OWN, {SESSION: TOKEN}, "same-origin"),
        (OWN, {NONCE: NONCE_VALUE}, "same-origin"),
        (OWN, COOKIES | {SESSION: "s1." + "b" * 43}, "same-origin"),
        (OWN, COOKIES | {NONCE: "m" * 43}, "same-origin"),
        ({"form": make_form_token(NONCE_VALUE, None)}, COOKIES, "same-origin"),
    ],
)
def test_a_form_from_elsewhere_or_of_another_session_is_not(
    fields: dict[str, str], cookies: dict[str, str], fetch_site: str
):
    assert not is_own_form(fields, cookies, fetch_site)


@pytest.mark.parametrize("found", ["", "s1.", "s1.short", "s2." + "a" * 43, TOKEN + "\r\nX: y", TOKEN + ";"])
def test_what_is_no_token_is_not_sent_on(found: str):
    assert read_token({SESSION: found}) is None
    assert read_nonce({NONCE: found}) is None


@given(st.binary(max_size=200))
def test_any_body_is_read_as_a_form_or_as_none(body: bytes):
    assert all(isinstance(value, str) for value in parse_form(body).values())


def test_a_body_of_many_fields_is_no_form():
    assert parse_form(b"&".join(b"a%d=1" % n for n in range(MOST_FIELDS + 1))) == {}


@given(st.text(max_size=60))
def test_one_goes_back_to_a_page_of_ours_whatever_the_form_says(back: str):
    found = find_back({"back": back})
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert "\n" not in found
