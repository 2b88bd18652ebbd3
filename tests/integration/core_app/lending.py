"""The steps of lending as a test writes them down: a person in, a loan out."""

import itertools
from typing import Any

from core_app.customers.identity import compute_check_character

PRODUCT = "instalment-12"
_sequence = itertools.count(1)


def make_id_number(born: str = "19900307") -> str:
    """Return a valid ID number of someone nobody else in this run is."""
    number = next(_sequence)
    first = f"{110101 + number // 999:06d}{born}{number % 999 + 1:03d}"
    return first + compute_check_character(first)


def make_person(born: str = "19900307") -> dict[str, str]:
    id_number = make_id_number(born)
    return {
        "name": "张三丰",
        "id_number": id_number,
        "phone": f"138{int(id_number[3:6] + id_number[12:17]):08d}",
    }


async def register(client: Any, born: str = "19900307") -> str:
    status, body, _ = await client.post("/v1/customers", make_person(born))
    assert status == 201
    return str(body["customer_id"])


async def apply(
    client: Any, customer_id: str, amount_fen: int = 1_200_000, periods: int = 12, **more: Any
) -> Any:
    """Apply with an authorisation to ask the bureau, so that the best tier can be had."""
    wish = {"customer_id": customer_id, "product": PRODUCT, "amount_fen": amount_fen, "periods": periods}
    wish |= {"bureau_authorisation": "auth-0001"} | more
    if wish["product"] == "scene-renovation":
        wish.setdefault("purpose", "renovation")  # its form asks for it
    status, body, _ = await client.post("/v1/applications", wish)
    assert status == 201
    return body


def confirm(decided: Any) -> dict[str, Any]:
    """Return the body that signs an application after reading its cost table."""
    return {
        "application_id": decided["application_id"],
        "cost_table_sm3": decided["cost_table_sm3"],
        "cost_table_read_seconds": decided["cost_table"]["reading_seconds"],
    }


async def sign(client: Any, amount_fen: int = 1_200_000, periods: int = 12, customer_id: str = "") -> Any:
    decided = await apply(client, customer_id or await register(client), amount_fen, periods)
    status, body, _ = await client.post("/v1/contracts", confirm(decided))
    assert status == 201
    return body


async def draw(client: Any, amount_fen: int = 1_200_000, periods: int = 12) -> Any:
    contract = await sign(client, amount_fen, periods)
    status, body, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert status == 201
    return body


async def repay(client: Any, loan_id: str, amount_fen: int, key: str | None = None) -> tuple[int, Any, Any]:
    found: tuple[int, Any, Any] = await client.post(
        "/v1/repayments", {"loan_id": loan_id, "amount_fen": amount_fen}, key
    )
    return found
