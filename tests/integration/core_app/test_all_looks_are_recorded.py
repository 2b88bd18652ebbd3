"""100 %: every route that shows personal data to staff, and every column it shows, has its record."""

import csv
from collections.abc import Awaitable, Callable
from typing import Any

from compliance.access.roles import BUSINESS, Role
from compliance.protection.fields import PROTECTED_COLUMNS
from core_app.api.app import make_app
from core_app.api.guard import allowed_of, walk_routes
from core_app.settings import ApiSettings
from core_app.staff.looks import PERSONAL
from core_app.staff.portal import make_portal
from tests.integration.core_app.lending import apply, draw, make_person
from tests.integration.core_app.people import WANG, seat

NOBODY: Any = None  # describing the routes asks no core
APP = make_app(NOBODY, ApiSettings())
WHY = {"purpose": "collection", "case_id": "TS-20260115"}
EXPORT_COLUMNS = ["customer_id", "name", "id_number", "phone", "taken_by", "mark"]


def reaches(schema: Any, schemas: Any, wanted: set[str], seen: frozenset[str] = frozenset()) -> bool:
    """Say whether an answer of this schema can hold a field of these names."""
    if isinstance(schema, list):
        return any(reaches(one, schemas, wanted, seen) for one in schema)
    if not isinstance(schema, dict):
        return False
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name and name not in seen:
        return reaches(schemas[name], schemas, wanted, seen | {name})
    if wanted & set(schema.get("properties", {})):
        return True
    return any(reaches(value, schemas, wanted, seen) for key, value in schema.items() if key != "example")


def routes_that_show(names: set[str]) -> set[str]:
    """Return `METHOD path` of every documented operation whose good answers can hold a field of `names`."""
    document = APP.state.document
    schemas = document["components"]["schemas"]
    return {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for status, answer in operation["responses"].items()
        if status.startswith("2") and reaches(answer["content"], schemas, names)
    }


def for_staff(routes: set[str]) -> set[str]:
    declared = {
        f"{method} {route.path}": allowed_of(route)
        for route in walk_routes(APP)
        for method in route.methods or ()
    }
    return {name for name in routes if (one := declared[name]) is not None and one.roles}


async def page(client: Any, path: str, body: Any) -> list[dict[str, Any]]:
    status, shown, _ = await client.send("POST", f"/v1/staff{path}", json=WHY | body)
    assert status == 201, shown
    return [
        {"look_id": row["look_id"], "customer_id": row["customer_id"], "fields": row["person"]}
        for row in shown["rows"]
    ]


async def look(client: Any, path: str, body: Any) -> list[dict[str, Any]]:
    status, shown, _ = await client.send("POST", f"/v1/staff{path}", json=WHY | body)
    assert status == 201, shown
    fields = dict(shown["person"]) | shown["facts"]
    return [{"look_id": shown["look_id"], "customer_id": shown["customer_id"], "fields": fields}]


Scenario = Callable[[Any, "Known"], Awaitable[list[dict[str, Any]]]]


class Known:
    """What the scenarios look at."""

    def __init__(self, person: dict[str, str], customer_id: str, application_id: str, loan: Any) -> None:
        self.person = person
        self.customer_id = customer_id
        self.application_id = application_id
        self.loan_id = loan["loan_id"]


async def see_customer(client: Any, known: Known) -> list[dict[str, Any]]:
    return await look(client, f"/customers/{known.customer_id}/looks", {})


async def see_loan(client: Any, known: Known) -> list[dict[str, Any]]:
    return await look(client, f"/loans/{known.loan_id}/looks", {})


async def see_application(client: Any, known: Known) -> list[dict[str, Any]]:
    return await look(client, f"/applications/{known.application_id}/looks", {})


async def see_complaint(client: Any, known: Known) -> list[dict[str, Any]]:
    body = {"customer_id": known.customer_id, "about": "fees", "words": "The fee was not shown to me."}
    status, made, _ = await client.post("/v1/complaints", body)
    assert status == 201, made
    path = f"/v1/staff/complaints/{made['complaint_id']}/looks"
    status, shown, _ = await client.send("POST", path, json=WHY)
    assert status == 201, shown
    return [{"look_id": shown["look_id"], "customer_id": shown["customer_id"], "fields": shown["person"]}]


async def unmask(client: Any, known: Known) -> list[dict[str, Any]]:
    return await look(client, f"/customers/{known.customer_id}/unmaskings", {"fields": ["phone", "name"]})


async def search_phone(client: Any, known: Known) -> list[dict[str, Any]]:
    found = await page(client, "/searches", {"by": "phone", "value": known.person["phone"]})
    found += await page(client, "/searches", {"by": "id_number", "value": known.person["id_number"]})
    assert [row["customer_id"] for row in found] == [known.customer_id] * 2
    return found


async def see_assigned(client: Any, known: Known) -> list[dict[str, Any]]:
    wish = {"staff": "li.wei", "customer_ids": [known.customer_id], "days": 7}
    status, done, _ = await client.send("POST", "/v1/staff/assignments", json=wish, headers=WANG)
    assert (status, done) == (200, {"assigned": [known.customer_id]})
    found = await page(client, "/assigned", {})
    assert [row["customer_id"] for row in found] == [known.customer_id]
    return found


async def export(client: Any, known: Known) -> list[dict[str, Any]]:
    body = WHY | {"customer_ids": [known.customer_id]}
    approval = {"Biyi-Approval": await client.approve("/v1/staff/exports", body)}
    status, shown, _ = await client.send("POST", "/v1/staff/exports", json=body, headers=approval)
    assert status == 201, shown
    first, *lines = shown["csv"].splitlines()
    assert first.startswith("# Biyi export, masked. li.wei ")
    rows = list(csv.DictReader(lines))
    assert [list(row) for row in rows] == [EXPORT_COLUMNS]
    assert rows[0]["taken_by"] == "li.wei"
    assert len(rows[0]["mark"]) == 16
    fields = {name: rows[0][name] for name in PERSONAL}
    return [{"look_id": None, "customer_id": rows[0]["customer_id"], "fields": fields}]


SCENARIOS: dict[str, tuple[str, Scenario]] = {
    "POST /v1/staff/customers/{customer_id}/looks": ("view", see_customer),
    "POST /v1/staff/loans/{loan_id}/looks": ("view", see_loan),
    "POST /v1/staff/applications/{application_id}/looks": ("view", see_application),
    "POST /v1/staff/complaints/{complaint_id}/looks": ("view", see_complaint),
    "POST /v1/staff/customers/{customer_id}/unmaskings": ("unmask", unmask),
    "POST /v1/staff/searches": ("search_hit", search_phone),
    "POST /v1/staff/assigned": ("list_row", see_assigned),
    "POST /v1/staff/exports": ("export_row", export),
}


def test_every_protected_column_that_is_stored_readably_can_only_be_shown_as_a_personal_field() -> None:
    readable = {column.name for column in PROTECTED_COLUMNS if column.table == "core.customers"}
    assert readable == set(PERSONAL)


def test_the_scenarios_are_all_routes_that_can_show_personal_data_to_staff() -> None:
    shows = routes_that_show(set(PERSONAL)) | routes_that_show({"csv"})
    assert for_staff(shows) == set(SCENARIOS)
    # Who is no staff gets no clear value at all, and staff cannot go there.
    assert shows - set(SCENARIOS) == {"GET /v1/customers/{customer_id}"}


def test_a_route_that_shows_a_name_would_be_found() -> None:
    schemas = {"Inner": {"properties": {"phone": {}}}, "Outer": {"properties": {"of": {"$ref": "#/x/Inner"}}}}
    assert reaches({"schema": {"$ref": "#/x/Outer"}}, schemas, {"phone"})
    assert not reaches({"schema": {"$ref": "#/x/Outer"}}, schemas, {"iban"})


RECORDS = """
select l.look_id, l.kind, l.staff, l.role, l.branch, l.terminal, l.customer_id, l.fields, l.purpose,
    l.case_id, l.assigned, o.payload,
    (select count(*) from core.staff_look_runs r where r.look_id = l.look_id)
from core.staff_looks l left join core.outbox o on o.key = l.look_id and o.topic = 'staff.looked'
"""


async def test_whatever_is_shown_is_recorded_field_by_field_and_told(client: Any, cells: Any) -> None:
    person = make_person()
    _, customer, _ = await client.post("/v1/customers", person)
    application = (await apply(client, customer["customer_id"]))["application_id"]
    known = Known(person, customer["customer_id"], application, await draw(client))
    seen: dict[str, dict[str, Any]] = {}
    for name, (kind, scenario) in SCENARIOS.items():
        shown = await scenario(client, known)
        assert shown, name
        fresh = [row for row in await cells.rows(RECORDS) if row[0] not in seen]
        assert len(fresh) == len(shown), f"{name}: one record for each customer shown"
        for row in fresh:
            (
                look_id,
                found_kind,
                staff,
                role,
                branch,
                terminal,
                of,
                fields,
                purpose,
                case_id,
                assigned,
                told,
                runs,
            ) = row
            [match] = [one for one in shown if one["look_id"] in (look_id, None)]
            assert (found_kind, staff, branch, terminal) == (kind, "li.wei", "branch-7", "branch-7-12"), name
            assert role == "+".join(sorted(str(one) for one in Role if one in BUSINESS)), name
            assert (of, purpose, case_id) == (match["customer_id"], "collection", "TS-20260115"), name
            assert set(match["fields"]) <= set(fields), f"{name}: every field shown is recorded"
            assert assigned == (name in ("POST /v1/staff/assigned", "POST /v1/staff/exports")), name
            assert told is not None, f"{name}: told to behaviour scoring"
            expected = {
                "event_id": look_id,
                "action": kind,
                "customer": of,
                "result": "ok",
                "staff": "li.wei",
            }
            assert {key: told[key] for key in expected} == expected, name
            assert runs == 1
            seen[look_id] = match
    pages = await cells.rows("select payload from core.outbox where topic = 'staff.paged' order by outbox_id")
    told_pages = sorted((page["action"], page["rows"]) for (page,) in pages)
    assert told_pages == [("export", 1), ("list", 1), ("search", 1), ("search", 1)]
    everything = str(await cells.rows("select payload::text from core.outbox")) + str(
        await cells.rows(RECORDS)
    )
    for datum in person.values():
        assert datum not in everything


async def test_a_search_without_a_hit_and_a_page_that_dies_leave_their_trace(client: Any, cells: Any) -> None:
    assert await page(client, "/searches", {"by": "phone", "value": "13900000000"}) == []
    searched = await cells.rows("select action, by_field, rows from core.staff_pages")
    assert searched == [("search", "phone", 0)] * 2, "one in each cell"
    assert len(await cells.rows("select 1 from core.outbox where topic = 'staff.paged'")) == 1
    _, customer, _ = await client.post("/v1/customers", make_person())
    [shown] = await look(client, f"/customers/{customer['customer_id']}/looks", {})
    for dwell_ms in (30_000, 60_000, 10_000):
        beat = {"look_ids": [shown["look_id"]], "dwell_ms": dwell_ms}
        assert (await client.send("POST", "/v1/staff/heartbeats", json=beat))[1] == {"noted": 1}
    other = await client.send("POST", "/v1/staff/heartbeats", json=beat, headers=WANG)
    assert other[1] == {"noted": 0}
    _, listed, _ = await client.get("/v1/staff/looks?open=true")
    assert [one["last_beat_ms"] for one in listed["looks"] if one["look_id"] == shown["look_id"]] == [60_000]
    beats = await cells.rows("select payload ->> 'dwell_ms' from core.outbox where topic = 'staff.look_beat'")
    assert [int(dwell) for (dwell,) in beats] == [30_000, 60_000, 60_000]


async def test_limits_of_a_day_hold_over_both_cells_and_a_second_person_opens_more(
    client: Any, cells: Any
) -> None:
    people = [(await client.post("/v1/customers", make_person()))[1]["customer_id"] for _ in range(2)]
    spent = "insert into access.uses (use_id, staff, what, amount) values ('{}', 'li.wei', '{}', {})"
    cells.run_sql(cells.databases["a"], spent.format("1", "clear_look", 19))
    body = WHY | {"fields": ["phone"]}
    paths = [f"/v1/staff/customers/{one}/unmaskings" for one in people]
    assert (await client.send("POST", paths[0], json=body))[0] == 201
    status, problem, _ = await client.send("POST", paths[1], json=body)
    assert (status, "phone" in str(problem)) == (403, False)
    approval = {"Biyi-Approval": await client.approve(paths[1], body)}
    assert (await client.send("POST", paths[1], json=body, headers=approval))[0] == 201
    cells.run_sql(cells.databases["a"], spent.format("2", "export_rows", 499))
    wish = WHY | {"customer_ids": people}
    approval = {"Biyi-Approval": await client.approve("/v1/staff/exports", wish)}
    assert (await client.send("POST", "/v1/staff/exports", json=wish, headers=approval))[0] == 403
    assert await cells.rows("select count(*) from core.staff_looks where kind = 'export_row'") == [(0,), (0,)]


async def test_what_somebody_may_look_for_depends_on_their_role(client: Any, core: Any) -> None:
    portal = make_portal(core, core.router.staff)
    audit = await seat(portal, "deng.li", Role.AUDIT_ADMIN)
    credit = await seat(portal, "hu.min", Role.CREDIT)
    customer_id = (await client.post("/v1/customers", make_person()))[1]["customer_id"]
    path = f"/v1/staff/customers/{customer_id}/looks"
    for headers, purpose, expected in (
        (audit, "internal_audit", 201),
        (audit, "collection", 422),
        (credit, "application_review", 201),
        (credit, "collection", 422),
    ):
        assert (await client.send("POST", path, json={"purpose": purpose}, headers=headers))[0] == expected
