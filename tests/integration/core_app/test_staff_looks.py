"""Looks of staff: recorded with the read or not shown, masked by default, told without personal data."""

import dataclasses
import logging
from typing import Any

import psycopg
import pytest

from core_app.staff.portal import make_portal
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import apply, draw, make_person
from tests.integration.core_app.people import WANG

LOOK = {"purpose": "customer_request", "case_id": "TS-20260115"}
CLEAR = {"purpose": "collection", "fields": ["phone"]}
PERSON = make_person() | {"name": "欧阳金丝雀"}


async def register(client: Any, person: dict[str, str] = PERSON) -> str:
    status, body, _ = await client.post("/v1/customers", person)
    assert status in {200, 201}
    return str(body["customer_id"])


async def ask(client: Any, path: str, body: Any = LOOK, **headers: str) -> tuple[int, Any, Any]:
    found: tuple[int, Any, Any] = await client.send("POST", f"/v1/staff{path}", json=body, headers=headers)
    return found


RECORDED = """
select look_id, staff, subject, subject_id, customer_id, fields, clear, purpose, case_id, site, host(address),
    terminal
from core.staff_looks
"""
TOLD = "select key, payload from core.outbox where topic like 'staff.%' order by outbox_id"


async def test_a_look_shows_masked_values_and_says_who_whose_what_and_why(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    status, shown, _ = await ask(client, f"/customers/{customer_id}/looks")
    assert (status, shown["person"]["name"], shown["person"]["phone"][3:7]) == (201, "欧阳***", "****")
    assert shown["person"]["id_number"][3:14] == "*" * 11
    fields = ["name", "id_number", "phone"]
    why_and_where = ("customer_request", "TS-20260115", "idc", "127.0.0.1", "branch-7-12")
    assert await cells.rows(RECORDED) == [
        (shown["look_id"], "li.wei", "customer", customer_id, customer_id, fields, False, *why_and_where)
    ]


@pytest.mark.parametrize("subject", ["loans", "applications"])
async def test_a_loan_or_an_application_is_shown_with_its_customer_masked(
    client: Any, cells: Any, subject: str
) -> None:
    if subject == "loans":
        subject_id = (await draw(client))["loan_id"]
    else:
        subject_id = (await apply(client, await register(client)))["application_id"]
    status, shown, _ = await ask(client, f"/{subject}/{subject_id}/looks", LOOK | {"fields": ["phone"]})
    assert status == 201
    assert list(shown["person"]) == ["phone"]
    assert 1_200_000 in shown["facts"].values()
    [(recorded,)] = await cells.rows("select fields from core.staff_looks")
    assert sorted(recorded) == sorted([*shown["person"], *shown["facts"]])


async def test_an_unmasking_shows_the_named_field_in_clear_and_is_a_look_of_its_own(
    client: Any, cells: Any
) -> None:
    customer_id = await register(client)
    await ask(client, f"/customers/{customer_id}/looks")
    status, shown, _ = await ask(client, f"/customers/{customer_id}/unmaskings", CLEAR)
    assert (status, shown["person"]) == (201, {"phone": PERSON["phone"]})
    looks = await cells.rows("select clear, fields from core.staff_looks order by at")
    assert looks == [(False, ["name", "id_number", "phone"]), (True, ["phone"])]


@pytest.mark.parametrize(
    ("change", "status", "path"),
    [
        ({"purpose": None}, 422, "body.purpose"),
        ({"purpose": "curiosity"}, 422, "body.purpose"),
        ({"purpose": "internal_audit"}, 422, "body.purpose"),
        ({"fields": []}, 422, "body.fields"),
        ({"fields": ["salary"]}, 422, "body.fields.0"),
        ({"case_id": "110105194912310021"}, 422, "body.case_id"),
        ({"case_id": "TS-13800138000"}, 422, "body.case_id"),
    ],
)
async def test_clear_values_need_a_purpose_of_the_list_that_needs_them(
    client: Any, cells: Any, change: dict[str, Any], status: int, path: str
) -> None:
    customer_id = await register(client)
    found, problem, _ = await ask(client, f"/customers/{customer_id}/unmaskings", CLEAR | change)
    assert (found, problem["errors"][0]["path"]) == (status, path)
    assert PERSON["phone"] not in str(problem)
    assert await cells.rows(RECORDED) == []


async def test_nobody_looks_without_a_session(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    path = f"/v1/staff/customers/{customer_id}/looks"
    channel = {"Authorization": f"Bearer {client.channel}"}
    claimed = {"Authorization": "Bearer s1.made-up", "Biyi-Staff": "li.wei"}
    for headers, expected in (({"Authorization": ""}, 401), (claimed, 401), (channel, 403)):
        status, _, answered = await client.send("POST", path, json=LOOK, headers=headers)
        assert status == expected
        assert ("WWW-Authenticate" in answered) == (expected == 401)
    assert await cells.rows(RECORDED) == []


async def test_a_look_at_nobody_shows_nothing_and_is_recorded(client: Any, cells: Any) -> None:
    nobody = "C" + "0" * 24
    assert (await ask(client, f"/customers/{nobody}/looks"))[0] == 404
    assert await cells.rows("select subject_id, customer_id, fields from core.staff_looks") == [
        (nobody, None, [])
    ]
    assert (await ask(client, "/customers/13800138000/looks"))[0] == 404
    assert len(await cells.rows(RECORDED)) == 1


BREAK = {
    "the recording is refused": (
        "revoke execute on function core.record_looks from biyi_staff",
        "grant execute on function core.record_looks to biyi_staff",
    ),
    "the look's transaction is not noted": (
        "alter table core.staff_look_runs add constraint broken check (false) not valid",
        "alter table core.staff_look_runs drop constraint broken",
    ),
    "the outbox is refused": (
        "alter table core.outbox add constraint broken check (topic <> 'staff.looked') not valid",
        "alter table core.outbox drop constraint broken",
    ),
    "the commit is refused": (
        "create constraint trigger at_commit after insert on core.staff_looks deferrable initially deferred"
        " for each row execute function core.refuse_change()",
        "drop trigger at_commit on core.staff_looks",
    ),
}


@pytest.mark.parametrize(("breaking", "mending"), BREAK.values(), ids=BREAK)
async def test_a_look_that_cannot_be_recorded_shows_nothing(
    client: Any, core: Any, cells: Any, breaking: str, mending: str
) -> None:
    customer_id = await register(client)
    dsn = cells.server.dsn(cells.databases[core.cell_of_customer(customer_id)], "biyi_owner")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as owner:
        await owner.execute(breaking)  # type: ignore[call-overload]
        try:
            for path, body in (("looks", LOOK), ("unmaskings", CLEAR)):
                status, problem, _ = await ask(client, f"/customers/{customer_id}/{path}", body)
                assert (status, "person" in problem) == (500, False)
                assert not any(datum in client.seen[-1] for datum in PERSON.values())
        finally:
            await owner.execute(mending)  # type: ignore[call-overload]
    assert (await cells.rows(RECORDED), await cells.rows(TOLD)) == ([], [])


async def test_a_transaction_that_is_run_again_records_its_look_once(core: Any, cells: Any) -> None:
    class Twice:
        """A router whose first commit was never answered: it runs the work again."""

        cells = core.router.cells
        directory = core.router.directory
        read = core.router.staff.read

        async def write(self, cell: str, work: Any, **more: Any) -> Any:
            await core.router.staff.write(cell, work, **more)
            return await core.router.staff.write(cell, work, **more)

    portal = make_portal(core, core.router.staff)
    twice = dataclasses.replace(portal, core=dataclasses.replace(core, router=Twice()))
    async with serve_api(core, None, portal=twice) as client:
        customer_id = await register(client)
        assert (await ask(client, f"/customers/{customer_id}/looks"))[0] == 201
    assert (len(await cells.rows(RECORDED)), len(await cells.rows(TOLD))) == (1, 1)


async def test_the_page_ends_its_look_once_and_a_missing_end_is_visible(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    ended, open_ = [(await ask(client, f"/customers/{customer_id}/looks"))[1]["look_id"] for _ in range(2)]
    status, record, _ = await ask(client, f"/looks/{ended}/end", {"dwell_ms": 8200})
    assert (status, record["dwell_ms"]) == (200, 8200)
    assert 0 <= record["elapsed_ms"] < 60_000
    assert (await ask(client, f"/looks/{ended}/end", {"dwell_ms": 8200}))[:2] == (200, record)
    status, problem, _ = await ask(client, f"/looks/{ended}/end", {"dwell_ms": 1})
    assert (status, problem["errors"][0]["path"]) == (409, "body.dwell_ms")
    assert (await ask(client, f"/looks/{open_}/end", {"dwell_ms": 1}, **WANG))[0] == 404
    assert (await ask(client, f"/looks/S000-{'0' * 32}/end", {"dwell_ms": 1}))[0] == 404
    _, listed, _ = await client.get("/v1/staff/looks?open=true")
    assert [look["look_id"] for look in listed["looks"]] == [open_]
    assert (await client.get(f"/v1/staff/looks/{open_}"))[1]["dwell_ms"] is None
    _, listed, _ = await client.get("/v1/staff/looks?limit=1")
    assert [look["look_id"] for look in listed["looks"]] == [open_]
    assert (await client.get("/v1/staff/looks?older_than_seconds=600"))[1] == {"looks": []}
    told = [payload | {"key": key} for key, payload in await cells.rows(TOLD)]
    assert told[2] == {"key": ended, "look_id": ended, "dwell_ms": 8200, "staff": "li.wei"}
    assert len(told) == 3


async def test_the_outbox_tells_each_look_and_nothing_personal_is_in_it_the_records_or_the_log(
    client: Any, cells: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    customer_id = await register(client)
    _, shown, _ = await ask(client, f"/customers/{customer_id}/unmaskings", CLEAR)
    await ask(
        client, f"/customers/{customer_id}/looks", {"purpose": PERSON["phone"], "case_id": PERSON["name"]}
    )
    [(key, payload)] = await cells.rows(TOLD)
    told = {"staff": "li.wei", "subject_id": customer_id, "fields": ["phone"], "clear": True, "site": "idc"}
    assert key == shown["look_id"]
    assert {name: payload[name] for name in told} == told
    assert "address" not in payload
    dumps = [cells.server.run("pg_dump", "-U", "biyi_admin", "-d", name) for name in cells.databases.values()]
    assert shown["look_id"] in "".join(dumps)
    for datum in PERSON.values():
        assert datum not in "".join(dumps)
        assert datum not in caplog.text


@pytest.mark.parametrize(
    "statement",
    [
        "update core.staff_looks set purpose = 'other'",
        "delete from core.staff_looks",
        "truncate core.staff_looks cascade",
        "update core.staff_look_ends set dwell_ms = 0",
        "delete from core.staff_look_ends",
    ],
)
async def test_a_record_cannot_be_changed_not_even_by_its_owner(
    client: Any, cells: Any, statement: str
) -> None:
    customer_id = await register(client)
    _, shown, _ = await ask(client, f"/customers/{customer_id}/looks")
    await ask(client, f"/looks/{shown['look_id']}/end", {"dwell_ms": 5})
    for user, refusal in (("biyi_owner", "BY103"), ("biyi_app", "42501"), ("biyi_staff", "42501")):
        for database in cells.databases.values():
            async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, user)) as connection:
                with pytest.raises(psycopg.Error) as error:
                    await connection.execute(statement)  # type: ignore[call-overload]
                assert error.value.sqlstate == refusal


async def test_the_core_cannot_choose_when_a_look_was(cells: Any) -> None:
    dsn = cells.server.dsn(cells.databases["a"], "biyi_app")
    statement = "insert into core.staff_looks (look_id, at) values ('S000', now())"
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)
