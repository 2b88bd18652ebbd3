"""Product documents for tests: a shipped one with changes, by dotted paths."""

import copy
import datetime as dt
from typing import Any

import yaml

from core_app.products.catalogue import FOLDER, read_product
from core_app.products.model import Product

START = dt.date(2026, 1, 15)


def make_document(changes: dict[str, Any], shipped: str = "instalment-12") -> dict[str, Any]:
    """Return a shipped document with each dotted path set to a value."""
    document = yaml.safe_load((FOLDER / f"{shipped}.yaml").read_text(encoding="utf-8"))
    for path, value in changes.items():
        *groups, name = path.split(".")
        place = document
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = copy.deepcopy(value)
    return dict(document)


def make_product(changes: dict[str, Any] | None = None, shipped: str = "instalment-12") -> Product:
    text = yaml.safe_dump(make_document(changes or {}, shipped), allow_unicode=True)
    return read_product("changed.yaml", text)


def split_funding(own: str, partner: str) -> dict[str, Any]:
    """Return the change that makes a product a joint one with these shares."""
    return {
        "funding.parties": [
            {"funder": "own", "share": own, "lead": True},
            {"funder": "partner_bank", "share": partner, "lead": False},
        ]
    }
