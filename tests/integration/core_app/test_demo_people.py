"""The demo's accounts are made by the acts of real ones, and each can sign in with what the demo prints."""

import stat
from pathlib import Path
from typing import Any

import pytest

from compliance.access import accounts
from compliance.access.errors import AccessRefused
from compliance.access.second_factor import STEP_SECONDS
from core_app.staff.portal import make_portal
from runbooks.demo_people import make_people, people_file, read_people, say_code, write_people
from tests.integration.core_app.conftest import serve_api

ROLES = {
    "an.bo": "system_admin", "chen.yu": "security_admin", "deng.li": "audit_admin", "li.wei": "service",
}  # fmt: skip


async def test_everybody_signs_in_with_what_is_printed(core: Any, cells: Any, tmp_path: Path) -> None:
    cells.server.run(
        "psql", "-U", "biyi_admin", "-d", cells.databases["a"], "-qc",
        "set session_replication_role = replica; truncate access.accounts cascade",
    )  # fmt: skip
    clock = [1_800_000_000.0]
    portal = make_portal(core, core.router.staff, read_s=lambda: clock[0])
    write_people(tmp_path, await make_people(portal.desk, lambda: clock[0]))
    assert stat.S_IMODE(people_file(tmp_path).stat().st_mode) == 0o600
    made = read_people(tmp_path)
    assert made is not None
    roles = {one["staff"]: one["roles"] for one in await accounts.list_accounts(portal.desk)}
    assert roles == {staff: [role] for staff, role in ROLES.items()}
    clock[0] += STEP_SECONDS
    async with serve_api(core, None, portal=portal) as client:
        for person in made.people:
            code = say_code(person, clock[0])
            body = {"staff": person.staff, "password": made.password, "code": code if person.secret else None}
            status, answer, _ = await client.send("POST", "/v1/staff/sessions", json=body)
            assert (status, answer["scope"]) == (201, "full"), person.staff
    (given,) = [one for one in await accounts.list_changes(portal.desk, 50) if one["what"] == "roles_set"]
    assert (given["staff"], given["done_by"], given["approval"] is not None) == ("li.wei", "an.bo", True)
    with pytest.raises(AccessRefused, match="accounts already"):
        await make_people(portal.desk, lambda: clock[0])
