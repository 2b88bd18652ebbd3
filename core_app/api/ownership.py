"""Whose an object is: a customer's token opens only what is this customer's own.

Owners never change, so looking before acting leaves no gap. What is another's and what does not exist are
answered alike (404). Only requests with a customer's token come here: channels cost nothing.
"""

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused
from core_app.ids import Letter

_OBJECTS = {
    "application_id": (
        Letter.APPLICATION,
        "select customer_id from core.applications where application_id = %s",
    ),
    "contract_id": (Letter.CONTRACT, "select customer_id from core.contracts where contract_id = %s"),
    "coupon_id": (Letter.COUPON, "select customer_id from core.coupons where coupon_id = %s"),
    "loan_id": (Letter.LOAN, "select customer_id from core.loans where loan_id = %s"),
}
_OWN = "customer_id"


def find_unowned(route: APIRoute) -> list[str]:
    """Return the ids that a route takes in its path, query or body whose owner is not known here."""
    names = {
        field.alias for part in ("path_params", "query_params") for field in getattr(route.dependant, part)
    }
    model = route.body_field.field_info.annotation if route.body_field is not None else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        names |= set(model.model_fields)
    return sorted(name for name in names if name.endswith("_id") and name not in (_OWN, *_OBJECTS))


async def check_owner(core: LendingCore, request: Request, customer_id: str) -> None:
    """Refuse (404) a request that names another customer, or an object that is not this customer's."""
    body = await _read_object(request)
    named = [*request.query_params.multi_items(), *request.path_params.items(), *body.items()]
    for name, value in named:
        if name == _OWN and value != customer_id:
            raise Refused(Kind.NOT_FOUND, "There is no such customer of yours.")
        if name in _OBJECTS and await _owner_of(core, name, value) != customer_id:
            raise Refused(Kind.NOT_FOUND, f"There is no such {name.removesuffix('_id')} of yours.")


async def _read_object(request: Request) -> dict[str, Any]:
    try:
        body = await request.json() if await request.body() else {}
    except (ValueError, RecursionError):
        return {}  # the route itself says what is wrong with it
    return body if isinstance(body, dict) else {}


async def _owner_of(core: LendingCore, name: str, value: Any) -> str | None:
    letter, statement = _OBJECTS[name]
    cell = core.cell_of_id(letter, value) if isinstance(value, str) else None
    if cell is None:
        return None

    async def work(connection: Connection, _epoch: int) -> str | None:
        row = await (await connection.execute(statement.encode(), [value])).fetchone()
        return row[0] if row is not None else None

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value
