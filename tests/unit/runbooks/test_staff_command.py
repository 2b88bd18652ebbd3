"""`biyi staff` asks for exactly what the routes of the portal ask for."""

from typing import Any

import pytest
from click.testing import CliRunner

from core_app.api.app import make_app
from core_app.api.guard import allowed_of, make_asked, walk_routes
from core_app.settings import ApiSettings
from runbooks.cli import main
from runbooks.staff import _asked, staff

NOBODY: Any = None  # listing routes asks no core
ROUTES = {route.path: route for route in walk_routes(make_app(NOBODY, ApiSettings()))}


@pytest.mark.parametrize("act", ["roles", "enable", "reset"])
def test_an_approval_asked_for_here_is_good_for_the_same_act_of_the_portal(act: str) -> None:
    route: Any = ROUTES[f"/v1/staff/accounts/{{staff}}/{act}"]
    declared = allowed_of(route)
    assert declared is not None
    assert declared.approved_by is not None
    body = {"roles": ["service"]} if act == "roles" else {}
    here = _asked(act, "li.wei", body)
    there = make_asked(route, f"/v1/staff/accounts/li.wei/{act}", {"staff": "li.wei"}, body)
    assert (here.canonical(), here.about) == (there.canonical(), there.about)


@pytest.mark.parametrize("command", sorted(staff.commands))
def test_every_command_explains_itself(command: str) -> None:
    answered = CliRunner().invoke(main, ["staff", command, "--help"])
    assert answered.exit_code == 0
    assert len(answered.output.splitlines()) > 4


def test_a_role_that_does_not_exist_is_a_usage_error() -> None:
    answered = CliRunner().invoke(main, ["staff", "roles", "li.wei", "emperor"])
    assert answered.exit_code == 2
    assert "system_admin" in answered.output
