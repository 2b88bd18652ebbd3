"""What products refer to by name, read once a process: forms, flows, data sources, segments, coupons."""

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from core_app.customers.segments import Segment, Segments, find_unknown_segments
from core_app.decisions.sources import Source, Sources, make_sources
from core_app.products.forms import Papers, Referred, make_papers
from core_app.products.model import Product
from core_app.servicing.coupons import CouponKind, CouponKinds, find_unknown_kinds
from core_app.yaml_documents import parse_yaml, read_text

_HERE = Path(__file__).parent
_SOURCES_FILE = _HERE.parent / "decisions" / "documents" / "sources.yaml"
_REFERRED = TypeAdapter(Referred)
_SEGMENTS_FILE = _HERE.parent / "customers" / "segments.yaml"
_SEGMENTS: TypeAdapter[tuple[Segment, ...]] = TypeAdapter(Segments)
_COUPONS_FILE = _HERE.parent / "servicing" / "coupons.yaml"
_COUPONS: TypeAdapter[tuple[CouponKind, ...]] = TypeAdapter(CouponKinds)
_SOURCES = TypeAdapter(list[Source])


@cache
def read_papers() -> Papers:
    """Return the forms and flows; DocumentInvalid names the field's path."""
    return make_papers(parse_yaml("forms.yaml", read_text(_HERE / "forms.yaml"), _REFERRED))


@cache
def read_sources(file: Path = _SOURCES_FILE) -> Sources:
    """Return the registry of data sources; DocumentInvalid names the field's path."""
    rows = parse_yaml(file.name, read_text(file), _SOURCES)
    return make_sources(rows)


@cache
def read_segments() -> tuple[Segment, ...]:
    """Return all customer segments, whenever they exist; DocumentInvalid names the field's path."""
    return parse_yaml(_SEGMENTS_FILE.name, read_text(_SEGMENTS_FILE), _SEGMENTS)


@cache
def read_coupon_kinds() -> tuple[CouponKind, ...]:
    """Return all kinds of coupons, whenever they may be issued; DocumentInvalid names the field's path."""
    return parse_yaml(_COUPONS_FILE.name, read_text(_COUPONS_FILE), _COUPONS)


def find_dangling(product: Product) -> tuple[str, ...]:
    """Return every name in a product that refers to nothing, or to what does not fit it, with its path."""
    unknown = read_sources().find_unknown(product)
    return (
        *read_papers().find_faults(product),
        *find_unknown_segments(product, read_segments()),
        *find_unknown_kinds(product, read_coupon_kinds()),
        *(f"risk.data_sources: {name}, which is no source that a decision may ask" for name in unknown),
    )
