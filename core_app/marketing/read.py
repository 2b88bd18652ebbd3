"""Read the documents of marketing, each once a process; DocumentInvalid names file and field."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from core_app.decisions.scorecard import Model, Scorecard
from core_app.documents import make_canonical
from core_app.errors import DocumentInvalid
from core_app.marketing.campaign import MESSAGES, Message, make_messages
from core_app.marketing.channels import CHANNEL_PRICES, ChannelPrice, check_prices
from core_app.products.parameters.shapes import Group, InTwoLanguages, Name
from core_app.rules.read import read_rulebook
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent


class PageEvent(Group):
    """A step of our pages that may be told of."""

    id: Name
    name: InTwoLanguages


_PAGE_EVENTS: TypeAdapter[tuple[PageEvent, ...]] = TypeAdapter(tuple[PageEvent, ...])
_CARD = TypeAdapter(Scorecard)
SCORE_FILE = FOLDER / "documents" / "marketing-response-1.json"


@cache
def read_channel_prices(folder: Path = FOLDER) -> tuple[ChannelPrice, ...]:
    """Return what channels are paid, checked against the rules of the days."""
    rows = parse_yaml("channels.yaml", read_text(folder / "channels.yaml"), CHANNEL_PRICES)
    return check_prices(rows, read_rulebook())


@cache
def read_page_events(folder: Path = FOLDER) -> tuple[PageEvent, ...]:
    """Return the steps that may be told of, in the order of the way."""
    rows = parse_yaml("tracking.yaml", read_text(folder / "tracking.yaml"), _PAGE_EVENTS)
    if len({row.id for row in rows}) != len(rows):
        raise DocumentInvalid("tracking.yaml: an id stands twice")
    return rows


@cache
def read_messages(folder: Path = FOLDER) -> Mapping[str, Message]:
    """Return the texts of campaigns by id."""
    rows = parse_yaml("messages.yaml", read_text(folder / "messages.yaml"), MESSAGES)
    return make_messages(rows, read_rulebook())


@cache
def read_score(file: Path = SCORE_FILE) -> Model:
    """Return the marketing score: its card, and the SM3 of its document."""
    card = parse_yaml(file.name, read_text(file), _CARD)
    return Model(card, make_canonical(card.model_dump(mode="json")).sm3)
