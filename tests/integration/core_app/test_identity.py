"""Evidence of identity: vendors by turns, what is kept, and no limit without a pass."""

from dataclasses import replace
from typing import Any

import pytest

from core_app.customers.document_reader import IdCard
from core_app.customers.fake_document_reader import FakeDocumentReader
from core_app.customers.fake_identity_vendor import FakeIdentityVendor
from core_app.customers.identity_vendor import Check
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import apply, make_person
from tests.integration.core_app.test_decisions import WithoutCell
from tests.integration.core_app.versions import publish_change

KEPT = "select kind, finding, vendor from core.identity_evidence order by kind, evidence_id"


async def test_a_registration_is_checked_and_the_evidence_stands_with_the_decision(
    core: Any, cells: Any
) -> None:
    vendor = FakeIdentityVendor("vendor_a")
    async with serve_api(replace(core, vendors=(vendor,)), None) as client:
        person = make_person()
        key = "register-identity-0001"
        _, made, _ = await client.post("/v1/customers", person, key)
        assert (await client.post("/v1/customers", person, key))[1] == made
        assert vendor.asked == 2, "what is passed is not asked for again"
        decided = await apply(client, made["customer_id"])
        _, shown, _ = await client.get(f"/v1/applications/{decided['application_id']}")
    assert decided["decision"] == "approved"
    evidence = shown["steps"][0]["facts"]["evidence"]
    assert {check: of[0] for check, of in evidence.items()} == {
        "face_liveness": "vendor_a",
        "police_match": "vendor_a",
    }
    assert await cells.rows(KEPT) == [
        ("face_liveness", "passed", "vendor_a"),
        ("police_match", "passed", "vendor_a"),
    ]


async def test_without_a_pass_there_is_no_limit_until_there_is_one(core: Any, cells: Any) -> None:
    vendor = FakeIdentityVendor("vendor_a", down=True)
    async with serve_api(replace(core, vendors=(vendor,)), None) as client:
        person = make_person()
        _, made, _ = await client.post("/v1/customers", person)
        who = {"customer_id": made["customer_id"]}
        refused = await apply(client, made["customer_id"])
        assert (refused["decision"], refused["limit_fen"]) == ("refused", 0)
        assert [(r["rule"], r["value"]) for r in refused["reasons"]] == [
            ("identity.police_match", "no check"),
            ("identity.face_liveness", "no check"),
        ]
        vendor.down, vendor.failing = False, {person["id_number"]}
        _, failed, _ = await client.post("/v1/identity-checks", who)
        assert failed["checks"] == {"face_liveness": "failed", "police_match": "failed"}
        assert "failed" in str((await apply(client, made["customer_id"]))["reasons"])
        vendor.failing = set()
        status, passed, _ = await client.post("/v1/identity-checks", who)
        assert (status, set(passed["checks"].values())) == (201, {"passed"})
        assert (await apply(client, made["customer_id"]))["decision"] == "approved"
        cells.set_business_date("2027-01-17")
        assert "368 days old" not in str(await apply(client, made["customer_id"]))
        assert "367 days old" in str((await apply(client, made["customer_id"]))["reasons"])
    findings = [row[1] for row in await cells.rows(KEPT)]
    assert sorted(findings) == ["failed"] * 2 + ["passed"] * 2 + ["unavailable"] * 2


async def test_the_next_vendor_is_asked_when_one_is_silent_but_not_for_a_better_finding(
    core: Any, cells: Any
) -> None:
    police_only = FakeIdentityVendor("police_only", frozenset({Check.POLICE_MATCH}))
    down, last = FakeIdentityVendor("down", down=True), FakeIdentityVendor("last")
    async with serve_api(replace(core, vendors=(down, police_only, last)), None) as client:
        person = make_person()
        police_only.failing = {person["id_number"]}
        await client.post("/v1/customers", person)
    assert await cells.rows(KEPT) == [
        ("face_liveness", "passed", "last"),
        ("police_match", "failed", "police_only"),
    ]


async def test_a_product_decides_which_evidence_it_needs(core: Any) -> None:
    await publish_change(core, eligibility={"identity_checks": ["voiceprint"]})
    vendor = FakeIdentityVendor("vendor_a", frozenset({Check.POLICE_MATCH, Check.FACE_LIVENESS}))
    async with serve_api(replace(core, vendors=(vendor,)), None) as client:
        _, made, _ = await client.post("/v1/customers", make_person())
        decided = await apply(client, made["customer_id"])
        assert [r["rule"] for r in decided["reasons"]] == ["identity.voiceprint"]


async def test_nobody_connected_means_no_limit_and_unknown_customers_are_named(core: Any) -> None:
    async with serve_api(replace(core, vendors=()), None) as client:
        _, made, _ = await client.post("/v1/customers", make_person())
        assert (await apply(client, made["customer_id"]))["decision"] == "refused"
        status, _, _ = await client.post("/v1/identity-checks", {"customer_id": "x"})
        assert status == 404
        status, _, _ = await client.post("/v1/identity-checks", {"customer_id": "C" + "0" * 24})
        assert status == 422


async def test_a_check_that_is_lost_fails_no_registration_and_repeating_it_heals(core: Any) -> None:
    vendor = FakeIdentityVendor("vendor_a")
    checked = replace(core, vendors=(vendor,))
    lost = "a"
    async with serve_api(replace(checked, router=WithoutCell(core.router, lost)), None) as client:
        while True:
            person, key = make_person(), f"lost-{vendor.asked:04d}-identity"
            status, made, _ = await client.post("/v1/customers", person, key)
            assert status == 201
            if made["cell"] == lost:
                break
    async with serve_api(checked, None) as client:
        assert "no check" in str((await apply(client, made["customer_id"]))["reasons"])
        assert (await client.post("/v1/customers", person, key))[1] == made
        assert (await apply(client, made["customer_id"]))["decision"] == "approved"


async def test_a_card_that_is_read_registers_the_same_person_and_shows_nothing_of_it(
    core: Any, cells: Any
) -> None:
    person = make_person()
    cards = {
        "img-good": IdCard(person["name"], person["id_number"]),
        "img-misread": IdCard(person["name"], "110105194912310021"),
    }
    reader = FakeDocumentReader(cards)
    async with serve_api(replace(core, reader=reader), None) as client:
        status, made, _ = await client.post(
            "/v1/card-registrations", {"image": "img-good", "phone": person["phone"]}
        )
        assert (status, sorted(made)) == (201, ["cell", "customer_id"])
        assert (await client.post("/v1/customers", person))[1] == made
        before = await cells.counts()
        for image, phone, path in (
            ("img-none", person["phone"], "body.image"),
            ("img-misread", person["phone"], "body.image"),
            ("img-good", "12345", "body.phone"),
        ):
            status, refused, _ = await client.post("/v1/card-registrations", {"image": image, "phone": phone})
            assert (status, refused["errors"][0]["path"]) == (422, path)
        reader.down = True
        body = {"image": "img-good", "phone": person["phone"]}
        assert (await client.post("/v1/card-registrations", body))[0] == 409
        assert await cells.counts() == before
        assert person["id_number"] not in "".join(client.seen)
    async with serve_api(core, None) as client:
        assert (await client.post("/v1/card-registrations", body))[0] == 409


@pytest.mark.parametrize(
    "change", ["update core.identity_evidence set finding = 'passed'", "delete from core.identity_evidence"]
)
async def test_evidence_cannot_be_changed_afterwards(core: Any, cells: Any, change: str) -> None:
    async with serve_api(replace(core, vendors=()), None) as client:
        await client.post("/v1/customers", make_person())
    for database in cells.databases.values():
        with pytest.raises(Exception, match="psql"):
            cells.run_sql(database, change)
