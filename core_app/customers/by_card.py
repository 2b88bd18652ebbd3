"""Register a person by the picture of an ID card, read by a vendor of OCR."""

import asyncio

from core_app.commands import Command, Done
from core_app.core import LendingCore
from core_app.customers.document_reader import DocumentUnreadable, ReaderUnavailable
from core_app.customers.service import check_person, register_customer
from core_app.errors import Refused, refuse_conflict, refuse_field

PATIENCE_SECONDS = 3.0
"""Patience with the reader. Source: our choice; a person waits at the screen."""
_IMAGE = "body.image"


async def register_by_card(core: LendingCore, command: Command, image: str, phone: str) -> Done:
    """Register the person on a picture; Refused when it cannot be read, or what is read cannot be right."""
    if core.reader is None:
        raise refuse_conflict(_IMAGE, "no reader of documents is connected", "POST /v1/customers")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            card = await core.reader.read_id_card(image)
    except DocumentUnreadable:
        raise refuse_field(_IMAGE, "a picture that cannot be read", "another picture") from None
    except (ReaderUnavailable, TimeoutError, OSError):
        raise refuse_conflict(_IMAGE, "a reader that does not answer", "POST /v1/customers") from None
    try:
        person = check_person(card.name, card.id_number, phone)
    except Refused as refused:
        if refused.errors[0].path == "body.phone":
            raise
        found = "a picture on which the name or the ID number was misread"
        raise refuse_field(_IMAGE, found, "a sharper picture, or POST /v1/customers") from None
    return await register_customer(core, command, person)
