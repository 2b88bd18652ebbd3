"""What acquisition channels are paid: dated prices by contract, within the rules of their day. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Group, Name, PositiveFen, Share
from core_app.rules.legal import Rulebook

APPROVAL_MOST, DRAWN_SHARE_MOST = "channel.approval_most", "channel.drawn_share_most"


class ChannelPrice(Group):
    """What one contract pays a channel for one thing, on the days from `from` to `to`."""

    contract: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9-]{3,39}$")]
    channel: Name
    per: Literal["approval", "draw", "drawn_share"]
    fen: PositiveFen | None = None
    share: Share | None = None
    first_day: dt.date = Field(alias="from")
    last_day: dt.date | None = Field(alias="to", default=None)

    @model_validator(mode="after")
    def _check(self) -> "ChannelPrice":
        by_share = self.per == "drawn_share"
        if by_share != (self.share is not None) or by_share == (self.fen is not None):
            raise ValueError(
                f"a price per {self.per} needs {'share' if by_share else 'fen'} and nothing else"
            )
        if self.last_day is not None and self.last_day < self.first_day:
            raise ValueError("`to` lies before `from`")
        return self

    def meets(self, other: "ChannelPrice") -> bool:
        """Say whether both pay the same channel for the same thing on some day."""
        same = (self.channel, self.per) == (other.channel, other.per)
        first = max(self.first_day, other.first_day)
        ends = [one.last_day for one in (self, other) if one.last_day is not None]
        return same and (not ends or first <= min(ends))


CHANNEL_PRICES: TypeAdapter[tuple[ChannelPrice, ...]] = TypeAdapter(tuple[ChannelPrice, ...])


def check_prices(prices: Sequence[ChannelPrice], rulebook: Rulebook) -> tuple[ChannelPrice, ...]:
    """Return the prices; DocumentInvalid names a contract that pays twice, or more than a rule allows."""
    for one, other in combinations(prices, 2):
        if one.meets(other):
            raise DocumentInvalid(
                f"channels: {one.contract} and {other.contract} both pay {one.channel} "
                f"per {one.per} on a day: needs one, set `to`"
            )
    for price in prices:
        rule = DRAWN_SHARE_MOST if price.share is not None else APPROVAL_MOST
        paid = price.share if price.share is not None else price.fen
        for day in rulebook.days_of_change(price.first_day, price.last_day):
            most = rulebook.value(rule, day)
            if paid is not None and paid > most:
                raise DocumentInvalid(
                    f"channels: {price.contract} pays {paid} per {price.per}: {rule} allows {most} on {day}"
                )
    return tuple(prices)


def show_prices(prices: Sequence[ChannelPrice], day: dt.date) -> list[Mapping[str, Any]]:
    """Return the prices in force on `day` as metrics take them: channel, per, fen, share as a text."""
    return [
        {
            "channel": one.channel,
            "per": one.per,
            "fen": one.fen or 0,
            "share": str(one.share or 0),
        }
        for one in prices
        if one.first_day <= day and (one.last_day is None or day <= one.last_day)
    ]
