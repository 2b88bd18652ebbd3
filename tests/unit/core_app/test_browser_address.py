"""Whose word the core takes for where a request came from."""

import pytest
from starlette.requests import Request

from core_app.api.guard import BROWSER_HEADER, origin_of
from core_app.api.metrics import HOLDER


def request_of(holder: str, *headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "headers": list(headers), "client": ("127.0.0.1", 1), HOLDER: holder})


SAID = (BROWSER_HEADER.lower().encode(), b"192.0.2.9")


def test_a_console_speaks_for_the_browser_behind_it():
    assert origin_of(request_of("console.idc", SAID), "console-idc").address == "192.0.2.9"


@pytest.mark.parametrize("holder", ["", "agent.idc", "consoles.idc", "console-x.idc", "operator.idc"])
def test_nobody_else_is_believed(holder: str):
    assert origin_of(request_of(holder, SAID)).address == "127.0.0.1"


def test_a_console_that_says_nothing_is_where_it_is():
    assert origin_of(request_of("console.idc")).address == "127.0.0.1"
