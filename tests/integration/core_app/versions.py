"""A newer version of a shipped product, published into every cell."""

from typing import Any

import yaml

from core_app.products.catalogue import FOLDER, read_product
from runbooks.product import publish_to_cell


async def publish_change(core: Any, product_id: str = "instalment-12", **changes: dict[str, Any]) -> None:
    """Publish version 2 of a shipped product with the changed parameters of each group."""
    document = yaml.safe_load((FOLDER / f"{product_id}.yaml").read_text(encoding="utf-8"))
    document["identity"]["version"] = 2
    for group, values in changes.items():
        document[group] |= values
    product = read_product("test.yaml", yaml.safe_dump(document, allow_unicode=True))
    for cell in core.router.cells:
        assert (await publish_to_cell(core, cell, product))["outcome"] in ("published", "was there")
