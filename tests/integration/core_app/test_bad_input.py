"""Bad input is a 4xx that names the field, and leaves no row in any table."""

import json
from typing import Any

import pytest

from tests.integration.core_app.lending import PRODUCT, draw, make_person, register

BIG = 2**53
SURROGATE = "\ud800"
APPLICATION = "/v1/applications"
WISH = {"customer_id": "C" + "0" * 24, "product": PRODUCT, "amount_fen": 1_200_000, "periods": 12}

BAD_WISHES = [
    ("unknown product", {"product": "no-such"}, "body.product"),
    ("negative amount", {"amount_fen": -1}, "body.amount_fen"),
    ("amount of zero", {"amount_fen": 0}, "body.amount_fen"),
    ("amount over the product's limit", {"amount_fen": 5_000_001}, "body.amount_fen"),
    ("amount over what JSON holds", {"amount_fen": BIG}, "body.amount_fen"),
    ("amount of thirty digits", {"amount_fen": 10**30}, "body.amount_fen"),
    ("amount with a fraction", {"amount_fen": 1.5}, "body.amount_fen"),
    ("amount spelled as a fraction", {"amount_fen": 1_200_000.0}, "body.amount_fen"),
    ("amount as text", {"amount_fen": "1200000"}, "body.amount_fen"),
    ("amount as true", {"amount_fen": True}, "body.amount_fen"),
    ("amount as null", {"amount_fen": None}, "body.amount_fen"),
    ("amount as NaN", {"amount_fen": float("nan")}, "body.amount_fen"),
    ("periods not in the product", {"periods": 7}, "body.periods"),
    ("periods of zero", {"periods": 0}, "body.periods"),
    ("a NUL in the product", {"product": "a\0b"}, "body.product"),
    ("a lone surrogate in the product", {"product": SURROGATE}, "body.product"),
    ("a malformed customer id", {"customer_id": "C1"}, "body.customer_id"),
    ("an unknown customer", {}, "body.customer_id"),
    ("an unknown field", {"discount": 1}, "body.discount"),
    ("an unknown field with an odd name", {SURROGATE + "\0": 1}, "body"),
]


@pytest.mark.parametrize(("change", "path"), [c[1:] for c in BAD_WISHES], ids=[c[0] for c in BAD_WISHES])
async def test_a_bad_application_names_its_field_and_leaves_no_row(
    client: Any, cells: Any, change: dict[str, Any], path: str
) -> None:
    before = await cells.counts()
    status, problem, headers = await client.post(APPLICATION, WISH | change)
    assert (status, problem["errors"][0]["path"]) == (422, path)
    assert headers["Content-Type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert await cells.counts() == before


@pytest.mark.parametrize("missing", sorted(WISH))
async def test_a_missing_field_is_named(client: Any, missing: str) -> None:
    wish = {name: value for name, value in WISH.items() if name != missing}
    status, problem, _ = await client.post(APPLICATION, wish)
    assert (status, problem["errors"][0]) == (
        422,
        {"path": f"body.{missing}", "found": "nothing", "needed": "this field"},
    )


BAD_BODIES = [
    ("no JSON", b"{", 400),
    ("empty", b"", 422),
    ("bad UTF-8", b'{"product": "\xff"}', 400),
    ("endless nesting", b"[" * 60_000, 400),
    ("endless digits", b'{"amount_fen": ' + b"9" * 60_000 + b"}", 400),
    ("a list", b"[]", 422),
    ("a text", b'"x"', 422),
]


@pytest.mark.parametrize(("body", "status"), [b[1:] for b in BAD_BODIES], ids=[b[0] for b in BAD_BODIES])
async def test_a_body_that_is_no_object_is_refused_under_path_body(
    client: Any, cells: Any, body: bytes, status: int
) -> None:
    before = await cells.counts()
    headers = {"Idempotency-Key": "bad-body-1", "Content-Type": "application/json"}
    found, problem, _ = await client.send("POST", APPLICATION, data=body, headers=headers)
    assert (found, problem["errors"][0]["path"]) == (status, "body")
    assert await cells.counts() == before


@pytest.mark.parametrize("key", [None, "short", "x" * 65, "with space1", "naïve-key"])
async def test_a_missing_or_bad_key_is_400_and_names_the_header(
    client: Any, cells: Any, key: str | None
) -> None:
    before = await cells.counts()
    headers = {"Idempotency-Key": key} if key else {}
    status, problem, _ = await client.send("POST", APPLICATION, json=WISH, headers=headers)
    assert (status, problem["errors"][0]["path"]) == (400, "header.Idempotency-Key")
    assert await cells.counts() == before


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_an_oversized_body_is_413_before_it_is_parsed(client: Any, cells: Any, chunked: bool) -> None:
    before = await cells.counts()
    body = json.dumps(WISH | {"product": "x" * 64 * 1024}).encode()

    async def chunks() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"Idempotency-Key": "oversized-1", "Content-Type": "application/json"}
    data = chunks() if chunked else body
    status, problem, _ = await client.send("POST", APPLICATION, data=data, headers=headers)
    assert (status, problem["errors"][0]["path"]) == (413, "body")
    assert await cells.counts() == before


BAD_PEOPLE = [
    ("id_number", "11010519491231002Y"),
    ("id_number", "110105194912310021"),
    ("id_number", "110105194902310020"),
    ("id_number", "110105491231002"),
    ("phone", "12345678901"),
    ("phone", 13800138000),
    ("name", "  "),
    ("name", "张\n三"),
]


@pytest.mark.parametrize(("field", "value"), BAD_PEOPLE)
async def test_a_bad_person_is_refused_without_repeating_personal_data(
    client: Any, cells: Any, field: str, value: Any
) -> None:
    before = await cells.counts()
    person = make_person() | {field: value}
    status, problem, _ = await client.post("/v1/customers", person)
    assert (status, problem["errors"][0]["path"]) == (422, f"body.{field}")
    answer = json.dumps(problem, ensure_ascii=False)
    assert not any(str(datum) in answer for datum in person.values())
    assert await cells.counts() == before


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/contracts", {"application_id": "A000-" + "0" * 32}, "application_id"),
        ("/v1/contracts", {"application_id": "Afff-" + "0" * 32}, "application_id"),
        ("/v1/draws", {"contract_id": "K3ff-" + "0" * 32}, "contract_id"),
        ("/v1/draws", {"contract_id": "x"}, "contract_id"),
        ("/v1/repayments", {"loan_id": "L000-" + "0" * 32, "amount_fen": 1}, "loan_id"),
        ("/v1/repayments", {"loan_id": "K000-" + "0" * 32, "amount_fen": 1}, "loan_id"),
    ],
)
async def test_an_id_that_leads_nowhere_is_422_and_leaves_no_row(
    client: Any, cells: Any, path: str, body: dict[str, Any], field: str
) -> None:
    before = await cells.counts()
    status, problem, _ = await client.post(path, body)
    assert (status, problem["errors"][0]["path"]) == (422, f"body.{field}")
    assert await cells.counts() == before


@pytest.mark.parametrize("amount", [0, -5, 1.0, "1", True, BIG, 1_320_196])
async def test_a_bad_repayment_amount_leaves_the_loan_as_it_was(client: Any, cells: Any, amount: Any) -> None:
    loan = await draw(client)
    before = await cells.counts()
    status, problem, _ = await client.post(
        "/v1/repayments", {"loan_id": loan["loan_id"], "amount_fen": amount}
    )
    assert (status, problem["errors"][0]["path"]) == (422, "body.amount_fen")
    assert await cells.counts() == before
    assert (await client.get(f"/v1/loans/{loan['loan_id']}"))[1]["outstanding_fen"] == 1_320_195


@pytest.mark.parametrize(
    "path",
    ["/v1/loans/x", "/v1/loans/%00", "/v1/loans/L000-" + "0" * 32, "/v1/customers/C" + "0" * 24, "/v1/x"],
)
async def test_what_is_not_there_is_404(client: Any, path: str) -> None:
    status, problem, headers = await client.get(path)
    assert (status, problem["status"], headers["Content-Type"]) == (404, 404, "application/problem+json")


async def test_a_wrong_method_is_405_as_a_problem(client: Any) -> None:
    status, problem, _ = await client.send("DELETE", "/v1/loans/x")
    assert (status, problem["title"]) == (405, "Method Not Allowed")


async def test_a_refused_key_is_free_for_the_corrected_request(client: Any) -> None:
    customer_id = await register(client)
    wish = WISH | {"customer_id": customer_id}
    assert (await client.post(APPLICATION, wish | {"periods": 7}, "same-key-1"))[0] == 422
    assert (await client.post(APPLICATION, wish, "same-key-1"))[0] == 201
