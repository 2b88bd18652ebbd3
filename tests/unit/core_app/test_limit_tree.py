"""The tree of limits: which limit holds at a node, what passes it, how much room is left."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.limits.tree import (
    CUSTOMER,
    Node,
    NodeRow,
    compute_room_fen,
    find_breaches,
    find_path,
    find_used_breaches,
    limit_at,
)
from core_app.products.catalogue import read_catalogue

fen = st.integers(0, 1_000)
maybe_fen = st.none() | fen


def make_row(
    name: str, limit: int | None = None, reserved: int = 0, used: int = 0, extra: int = 0
) -> NodeRow:
    return NodeRow(name, limit, reserved, used, extra)


def test_the_path_of_a_product_goes_from_the_legal_line_down_to_its_scene() -> None:
    products = {product.id: product for product in read_catalogue().versions.values()}
    bill = products["bill-small-ticket"]
    assert [node.name for node in find_path(bill, 20_000_000, 10_000_000)] == [
        CUSTOMER, "group:everyday", "product:bill-small-ticket",
    ]  # fmt: skip
    scene = bill.model_copy(update={"limits": bill.limits.model_copy(update={"scene_fen": 50_000})})
    assert find_path(scene, 20_000_000, None)[-1] == Node("scene:bill-small-ticket/shop_payment", 50_000)


@pytest.mark.parametrize(
    ("name", "document", "row", "limit"),
    [
        ("product:p", 100, None, 100),
        ("product:p", 100, make_row("product:p", 60), 60),
        ("product:p", 100, make_row("product:p", 140), 100),
        ("product:p", 100, make_row("product:p", 60, extra=30), 90),
        ("product:p", None, make_row("product:p"), None),
        (CUSTOMER, 100, make_row(CUSTOMER, None, extra=30), 100),
    ],
)
def test_the_lowest_limit_known_holds_and_an_increase_never_lifts_the_legal_line(
    name: str, document: int | None, row: Any, limit: int | None
) -> None:
    assert limit_at(Node(name, document), row) == limit


@given(maybe_fen, maybe_fen, fen, fen, fen, fen)
def test_what_fits_in_the_room_breaks_nothing_and_one_fen_more_does(
    set_customer: int | None, set_product: int | None, reserved: int, used: int, other: int, extra: int
) -> None:
    path = (Node(CUSTOMER, 1_500), Node("product:p", 900))
    rows = {
        CUSTOMER: make_row(CUSTOMER, set_customer, reserved + other, used),
        "product:p": make_row("product:p", set_product, reserved, used, extra),
    }
    room = compute_room_fen(path, rows)
    held = rows[CUSTOMER].held_fen
    broken_now = bool(find_breaches(path, rows)) or held > 1_500
    assert broken_now or not find_breaches(path, rows, room)
    assert find_breaches(path, rows, room + 1) or held + room + 1 > 1_500


@given(maybe_fen, fen, fen, fen)
def test_a_cut_stops_what_is_used_above_it_and_not_what_is_only_reserved(
    limit: int | None, reserved: int, used: int, extra: int
) -> None:
    found = find_used_breaches([make_row("product:p", limit, reserved, used, extra)])
    assert bool(found) == (limit is not None and used > limit + extra)
