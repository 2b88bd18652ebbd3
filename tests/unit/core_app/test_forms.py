"""What products refer to by name is there, and fits them."""

import pytest
from pydantic import ValidationError

from core_app.decisions.sources import Source, make_sources
from core_app.products.catalogue import read_catalogue
from core_app.products.forms import Flow, Referred, make_papers
from core_app.products.references import find_dangling, read_papers, read_sources

SHIPPED = list(read_catalogue().versions.values())
PLAIN = next(one for one in SHIPPED if one.id == "instalment-12")


@pytest.mark.parametrize("product", SHIPPED, ids=lambda one: one.id)
def test_a_shipped_product_refers_to_what_there_is(product: object) -> None:
    assert find_dangling(product) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("group", "change", "path"),
    [
        ("documents", {"application_form": "no_such_form"}, "documents.application_form: no_such_form"),
        ("documents", {"flow": "no_such_flow"}, "documents.flow: no_such_flow"),
        ("documents", {"flow": "apply_decide_line_draw"}, "documents.flow: apply_decide_line_draw"),
        ("documents", {"flow": "order_apply_decide_sign_pay_merchant"}, "documents.flow"),
        ("documents", {"flow": "apply_decide_line_scan"}, "documents.flow"),
        ("risk", {"data_sources": ("gossip",)}, "risk.data_sources: gossip"),
    ],
)
def test_a_product_that_refers_to_nothing_does_not_go_on_sale(
    group: str, change: dict[str, object], path: str
) -> None:
    changed = PLAIN.model_copy(update={group: getattr(PLAIN, group).model_copy(update=change)})
    faults = find_dangling(changed)
    assert len(faults) == 1
    assert faults[0].startswith(path)


def test_a_form_names_what_is_missing_and_what_it_does_not_have() -> None:
    form = read_papers().forms["scene_order"].model_copy(update={"takes": ("channel",)})
    assert [name for name, _, _ in form.find_faults({"region", "channel"})] == ["purpose", "region"]
    assert list(form.find_faults({"purpose", "channel"})) == []


def test_a_flow_is_a_graph_without_gaps_and_circles() -> None:
    for steps in (
        [{"step": "draw", "after": ["sign"]}, {"step": "sign", "after": []}],
        [{"step": "sign", "after": []}, {"step": "sign", "after": []}],
    ):
        with pytest.raises(ValidationError):
            Flow.model_validate({"id": "wrong", "text": "Wrong.", "steps": steps})
    with pytest.raises(ValueError, match="stands twice"):
        make_papers(Referred(forms=(*read_papers().forms.values(),) * 2, flows=()))


def test_every_source_has_a_purpose_a_ground_and_a_time() -> None:
    sources = read_sources()
    assert {"application", "bureau", "device", "utilities"} <= sources.by_id.keys()
    for source in sources.by_id.values():
        # What is asked of others, and what no decision asks for, needs an agreement of its own.
        assert (source.consent == "separate") == (bool(source.fields) or not source.decides), source.id
    plain = sources.by_id["utilities"].model_dump()
    for change in ({"consent": "contract"}, {"fields": {}}, {"retention_days": 0}):
        with pytest.raises(ValidationError):
            Source.model_validate(plain | change)
    with pytest.raises(ValueError, match="stands twice"):
        make_sources([sources.by_id["device"]] * 2)
