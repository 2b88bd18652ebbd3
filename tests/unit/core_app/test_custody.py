"""Where an order stands with a channel: every combination of file, order and ledger that differs."""

import datetime as dt
import itertools

from core_app.funding.custody import Line, Seen, Standing, judge, list_differences

DAY = dt.date(2026, 2, 15)
LATER = dt.date(2026, 2, 16)
ORDER = "P000-" + "0" * 32


def seen(
    *fens: int, ordered: int | None = 5, paid: bool = True, booked: int = 5, reported: bool = False
) -> Seen:
    lines = tuple(Line(day, fen) for day, fen in zip((DAY, LATER), fens, strict=False))
    return Seen(ORDER, "bank_a", ordered, paid, booked, lines, reported)


def test_each_way_not_to_agree_has_its_name_and_its_figures() -> None:
    for one, standing, note in (
        (seen(), Standing.NO_FILE, "paid with us, not in the file"),
        (seen(paid=False), Standing.WITHDRAWN, "claimed by no file any more"),
        (
            seen(5, ordered=None, paid=False),
            Standing.NO_ORDER,
            "booked by the channel, 5 fen; we have no such order",
        ),
        (seen(5, paid=False), Standing.NOT_PAID, "booked by the channel, 5 fen; with us not paid by it"),
        (seen(6), Standing.AMOUNT, "booked by the channel, 6 fen; ordered 5 fen"),
        (seen(5, booked=0), Standing.LEDGER, "paid, 5 fen; the ledger has 0 fen"),
        (
            seen(5, 5),
            Standing.TWICE,
            "booked by the channel, 5 fen; booked before, in its file of 2026-02-15",
        ),
        (seen(5), Standing.AGREES, ""),
    ):
        found = judge(one)
        assert (found.order_id, found.channel, found.standing, found.note) == (
            ORDER,
            "bank_a",
            standing,
            note,
        )


def test_money_is_moved_only_where_all_three_agree_and_never_twice() -> None:
    moved = [
        one
        for fens in ((), (5,), (6,), (5, 5))
        for ordered, paid, booked, reported in itertools.product(
            (None, 5, 6), (True, False), (0, 5, 6), (True, False)
        )
        if judge(one := seen(*fens, ordered=ordered, paid=paid, booked=booked, reported=reported)).move
    ]
    assert moved == [seen(5), seen(6, ordered=6, booked=6)]


def test_what_agrees_and_what_was_withdrawn_is_no_difference() -> None:
    found = [judge(one) for one in (seen(6), seen(5), seen(paid=False), seen())]
    assert list_differences(found) == [
        f"{ORDER}: booked by the channel, 6 fen; ordered 5 fen",
        f"{ORDER}: paid with us, not in the file",
    ]
