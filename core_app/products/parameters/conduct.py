"""How the business behaves: disclosures, notices, collection, documents, reporting, servicing. Pure."""

from typing import Annotated, Literal

from pydantic import Field

from core_app.products.parameters.shapes import (
    Ascending,
    Count,
    Group,
    Hour,
    Line,
    Name,
    Names,
    SomeNames,
    told,
)

_MEASURE = "core_app.rules.measure"
_CHECK = "core_app.products.check"
_NOTICES = "core_app.day_end.notices"
_FORMS = "core_app.products.forms"
_COLLECTION = "core_app.servicing.collection"
_DOCUMENTS = "core_app.servicing.documents"


class Slogan(Group):
    """The advertising line, in Chinese and in English; the rules look for banned phrases in it."""

    zh: Line = told(_MEASURE, "Chinese text.")
    en: Line = told(_MEASURE, "English text.")


class Disclosures(Group):
    """What the borrower is shown before signing."""

    cost_table: bool = told(_MEASURE, "Whether the cost table is shown.")
    pop_up: bool = told(_MEASURE, "Whether it is a page of its own that must be confirmed.")
    order_page: bool = told(_MEASURE, "Whether the order page of a scene shows the cost.")
    reading_seconds: Count = told(_MEASURE, "Shortest time the page stays before it can be confirmed.")
    rate_unit_shown: Name = told(_MEASURE, "Unit of the rate in advertisements: simple, compound, both.")
    complaint_phone: Line = told("core_app.disclosure.cost_table", "Number for complaints.")
    slogan: Slogan
    claims: Names = told(_MEASURE, "Claims made in advertising; the rules refuse those without method.")


class Notices(Group):
    """What the borrower is told while the loan runs."""

    due_before_days: Ascending = told(_NOTICES, "Days before a due date on which to remind.")
    overdue_days: Ascending = told(_NOTICES, "Days past due on which to tell.")
    media: SomeNames = told(_NOTICES, "How: app, sms, mail.")
    statement_day: Annotated[int, Field(ge=1, le=28, strict=True)] = told(
        "core_app.day_end.terms", "Day of the month on which the statement is made."
    )
    rate_change_days: Count = told(_NOTICES, "Days before a change of the rate on which to tell.")


class Tier(Group):
    """One step of the collection strategy."""

    from_day: Count = told(_COLLECTION, "First day past due.")
    method: Name = told(_COLLECTION, "What is done.")


class Collection(Group):
    """How overdue loans are collected, under the contact limits of the law."""

    quiet_from_hour: Hour = told(_MEASURE, "Begin of the hours without contact, o'clock in Shanghai.")
    quiet_until_hour: Hour = told(_MEASURE, "End of the hours without contact, o'clock in Shanghai.")
    voice_per_day: Count = told(_MEASURE, "Effective voice contacts a day and debtor.")
    methods: SomeNames = told(_MEASURE, "Methods in use.")
    vendor_reviews_per_year: Count = told(_MEASURE, "Reviews of each vendor a year.")
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    contact_person: Literal["never", "if_unreachable"] = told(
        "core_app.servicing.contact", "Whether a contact person may be asked for the debtor's whereabouts."
    )
    hardship_days: Count = told(
        "core_app.servicing.hardship", "Days collection rests after a hardship request."
    )


class Documents(Group):
    """Forms and papers of the product."""

    contract_template: Name = told(_DOCUMENTS, "Template of the contract.")
    application_form: Name = told(_FORMS, "Form of the application.")
    flow: Name = told(_FORMS, "Graph of the steps from application to draw.")
    agreements: SomeNames = told(_DOCUMENTS, "Papers the borrower signs.")
    signature: Literal["sms_code", "certificate"] = told(_DOCUMENTS, "How they are signed.")
    retention_years: Count = told(_MEASURE, "Years kept after the loan's end.")


class Reporting(Group):
    """How the loan is reported to the credit bureau."""

    bureau_account_type: Literal["D1", "R1", "R4"] = told(
        _CHECK, "D1 term loan, R1 revolving, R4 draw under a line."
    )
    bureau_repay_mode: Literal["11", "12", "13", "21", "23", "90"] = told(
        _CHECK, "11 equal instalment, 12 equal principal, 13 interest-only, 23 anytime, 90 aggregated."
    )
    bureau_frequency: Literal["03", "99"] = told(_CHECK, "03 monthly, 99 irregular.")
    merge_bills: bool = told(_CHECK, "Whether one monthly bill account stands for all draws.")


class Servicing(Group):
    """What happens after the sale."""

    complaint_days: Count = told(_MEASURE, "Days in which a complaint is answered.")
    complaint_hours: Count = told("core_app.servicing.complaints", "Hours until its first answer.")
    coupons: Names = told("core_app.servicing.coupons", "Kinds of coupons that may be used.")
