"""The port to whoever delivers messages: app push, SMS, letters. Values and a Protocol. Pure.

What every gateway has to promise (its contract test asks for each):
- a message's number is delivered at most once, however often `send` brings it; what was answered is answered;
- what it refused it never delivers under that number; what it answered survives its own crash;
- it tells a medium that it does not serve, and an address that cannot be, by REFUSED;
- no answer is UNKNOWN: the message may be on its way, and may be brought again under its number.
"""

import enum
from dataclasses import dataclass, field
from typing import Protocol


class Delivery(enum.StrEnum):
    """What an answer, or its absence, says of a message."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Message:
    """What is delivered; `address` is a phone number for SMS, else our own id of the customer.

    A house that prints letters knows where a customer lives from us beforehand; the core keeps no address.
    """

    number: str
    medium: str
    text: str
    address: str = field(repr=False)


class MessageGateway(Protocol):
    """One vendor. Never raises for what goes wrong outside: that is UNKNOWN."""

    async def send(self, message: Message) -> Delivery:
        """Bring a message once."""
