"""Outside sources: asked only with consent, kept as the registry says, weighed by cards that name them."""

import datetime as dt
from dataclasses import replace
from typing import Any

from core_app.decisions.consents import forget_answers
from core_app.decisions.fake_outside_source import FakeOutsideSource
from core_app.decisions.risk import make_risk
from core_app.decisions.scorecard import Term
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import apply, register
from tests.integration.core_app.versions import publish_change

GOOD = {"months_known": 48, "months_paid_late": 0, "month_mean_fen": 18_000}
NAMED = {"risk": {"data_sources": ["application", "bureau", "device", "utilities"]}}
KEPT = "select source, fields, keep_until - asked_on from core.source_answers"


async def inputs_of(client: Any, decided: Any) -> dict[str, Any]:
    _, shown, _ = await client.get(f"/v1/applications/{decided['application_id']}")
    inputs: dict[str, Any] = shown["steps"][2]["facts"]["inputs"]
    return inputs


async def consent(client: Any, customer_id: str, granted: bool = True) -> None:
    body = {"customer_id": customer_id, "source": "utilities", "granted": granted, "reference": "paper-0001"}
    assert (await client.post("/v1/consents", body))[0] == 201


async def test_a_source_is_asked_with_consent_only_once_and_for_products_that_name_it(
    core: Any, cells: Any
) -> None:
    source = FakeOutsideSource("utilities", GOOD)
    async with serve_api(replace(core, sources=(source,)), None) as client:
        customer_id = await register(client)
        await consent(client, customer_id)
        assert not any(
            name.startswith("source.") for name in await inputs_of(client, await apply(client, customer_id))
        )
        await publish_change(core, **NAMED)
        stranger = await register(client)
        await apply(client, stranger)
        assert source.asked == 0, "neither for a product that does not name it nor without a consent"
        for _ in range(2):
            inputs = await inputs_of(client, await apply(client, customer_id))
            assert {n.rsplit(".", 1)[1]: v for n, v in inputs.items() if n.startswith("source.")} == GOOD
        assert source.asked == 1
        assert await cells.rows(KEPT) == [("utilities", GOOD, 180)]
        await consent(client, customer_id, granted=False)
        assert await cells.rows(KEPT) == []
        await apply(client, customer_id)
        assert source.asked == 1


async def test_what_a_source_said_is_forgotten_when_its_time_is_over(core: Any, cells: Any) -> None:
    await publish_change(core, **NAMED)
    source = FakeOutsideSource("utilities", GOOD)
    async with serve_api(replace(core, sources=(source,)), None) as client:
        customer_id = await register(client)
        await consent(client, customer_id)
        await apply(client, customer_id)
    cell = core.cell_of_customer(customer_id)
    last = dt.date(2026, 1, 15) + dt.timedelta(days=180)
    for day, left in ((last, 1), (last + dt.timedelta(days=1), 0)):
        cells.set_business_date(str(day))
        assert await forget_answers(core, cell) == 1 - left
        assert len(await cells.rows(KEPT)) == left


async def test_an_answer_that_cannot_be_believed_is_none_and_holds_nobody_up(core: Any, cells: Any) -> None:
    await publish_change(core, **NAMED)
    for broken in (
        FakeOutsideSource("utilities", {"months_known": -1}),
        FakeOutsideSource("utilities", {"months_known": "48"}),
        FakeOutsideSource("utilities", GOOD, down=True),
        FakeOutsideSource("utilities", GOOD, delay_ms=2000),
    ):
        async with serve_api(replace(core, sources=(broken,)), None) as client:
            customer_id = await register(client)
            await consent(client, customer_id)
            decided = await apply(client, customer_id)
            assert decided["decision"] == "approved"
            assert not any(n.startswith("source.") for n in await inputs_of(client, decided))
        assert broken.asked == 1
    assert await cells.rows(KEPT) == []


async def test_a_card_that_names_a_field_weighs_it(core: Any) -> None:
    await publish_change(core, **NAMED)
    risk = core.risk
    late = Term(
        input="source.utilities.months_paid_late",
        least=0, most=12, mean=0, scale=1, weight=2.0, missing_weight=0.0,
    )  # fmt: skip
    cards = [
        model.card.model_copy(update={"terms": (*model.card.terms, late), "version": 2})
        if model.card.id == "credit-application"
        else model.card
        for model in risk.versions
    ]
    weighed = replace(core, risk=make_risk(risk.policy, risk.registry, cards, risk.sources))
    points = []
    for months in (0, 12):
        source = FakeOutsideSource("utilities", GOOD | {"months_paid_late": months})
        async with serve_api(replace(weighed, sources=(source,)), None) as client:
            customer_id = await register(client)
            await consent(client, customer_id)
            decided = await apply(client, customer_id)
            _, shown, _ = await client.get(f"/v1/applications/{decided['application_id']}")
            points.append(shown["steps"][2]["facts"]["main"]["points"])
    assert points[0] > points[1]


async def test_a_consent_for_what_needs_none_is_refused_and_leaves_no_row(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    before = await cells.counts()
    for changes, path in (
        ({"source": "bureau"}, "body.source"),
        ({"source": "gossip"}, "body.source"),
        ({"customer_id": "C" + "0" * 24}, "body.customer_id"),
    ):
        body = {"customer_id": customer_id, "source": "utilities", "granted": True, "reference": "paper-0001"}
        status, refused, _ = await client.post("/v1/consents", body | changes)
        assert (status, refused["errors"][0]["path"]) == (422, path)
    assert await cells.counts() == before
