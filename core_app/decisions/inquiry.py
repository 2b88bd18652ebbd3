"""What is fetched before an application's transaction: the bureau's answer, counts of the other cells, and
what outside sources say of a customer who consented.

Outside the transaction, so that nobody waits for the bureau with rows locked or a connection held. Only
applications with an authorisation or with device evidence come here, and all where a source is connected;
the others cost nothing.
"""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from psycopg.types.json import Jsonb

from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_NAME
from core_app.commands import Command
from core_app.core import Connection, LendingCore
from core_app.customers.evidence import may_inquire
from core_app.decisions.bureau import BureauAnswer, BureauQuestion, ask_bureau
from core_app.decisions.bureau_report import BureauReport, NoAnswer
from core_app.decisions.evidence import Evidence
from core_app.decisions.outside_source import SourceQuestion, ask_source
from core_app.decisions.windows import Counts, count_elsewhere
from core_app.products.model import Product
from core_app.products.published import ask_on_sale

_BEFORE = """
select d.day, c.name, c.id_number,
       exists (select from core.commands k where k.idempotency_key = %(key)s), q.report, q.asked_on
from core.read_day(%(chunk)s::smallint, %(today)s::date) as d (day)
left join core.customers c on c.customer_id = %(customer_id)s
left join lateral (
    select i.report, i.asked_on from core.bureau_inquiries i
    where i.customer_id = c.customer_id and i.report is not null order by i.inquiry_id desc limit 1
) as q on true
"""


_CONSENTED = """
select c.source, c.reference, a.fields
from (select distinct on (n.source) n.source, n.granted, n.reference from core.consents n
      where n.customer_id = %(customer_id)s order by n.source, n.consent_id desc) as c
left join lateral (
    select k.fields from core.source_answers k
    where k.customer_id = %(customer_id)s and k.source = c.source
        and k.keep_until >= core.read_day(%(chunk)s::smallint, %(today)s::date)
    order by k.answer_id desc limit 1
) as a on true
where c.granted
"""

_KEEP_ANSWERS = """
insert into core.source_answers (customer_id, source, fields, asked_on, keep_until, idempotency_key)
select %(customer_id)s, s.source, s.fields, %(day)s, s.keep_until, %(key)s
from unnest(%(sources)s::text[], %(fields)s::jsonb[], %(keep_until)s::date[])
    as s (source, fields, keep_until)
"""


@dataclass(frozen=True, slots=True)
class Inquired:
    """What was fetched. `made` says that an inquiry was made now, which is to be recorded.

    `asked_on` is the business date of the answer used; `elsewhere` is None when a cell could not be asked.
    """

    answer: BureauAnswer
    made: bool
    asked_on: dt.date | None
    elsewhere: Counts | None
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What outside sources said, now or before; `fetched` are those that were asked now."""
    fetched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Before:
    """The cell's own facts: the day, the product, whom to ask about, the newest answer; None: do not ask."""

    today: dt.date
    product: Product | None
    question: BureauQuestion | None
    known: BureauReport | None
    known_on: dt.date | None
    consents: Mapping[str, tuple[str, Mapping[str, int] | None]] = field(default_factory=dict)
    """By source with a consent: its number, and the answer that is still kept."""


async def inquire(
    core: LendingCore,
    command: Command,
    asked_for: tuple[str, str],
    authorisation: str | None,
    evidence: Sequence[Evidence],
) -> Inquired:
    """Fetch what an application of `asked_for` (customer, product) needs from outside its transaction."""
    missing = NoAnswer.NOT_AUTHORISED if authorisation is None else NoAnswer.NO_BUREAU
    nothing = Inquired(BureauAnswer(None, missing, 0), False, None, {})
    ask = authorisation is not None and core.bureau is not None
    if not ask and not evidence and not core.sources:
        return nothing
    customer_id, product_id = asked_for
    cell = core.cell_of_customer(customer_id)
    before = await _read_before(core, command, cell, (customer_id, product_id, authorisation or ""))
    if before.product is None or before.question is None:
        # The transaction will refuse it, or answer it from its record; if it should not, it knows nothing.
        return replace(nothing, elsewhere=None if evidence else {})
    may_ask = ask and may_inquire(before.product, authorisation)
    (answer, made, asked_on), elsewhere, (sources, fetched) = await asyncio.gather(
        _find_answer(core, before, before.product) if may_ask else _give(nothing.answer),
        _count(core, cell, evidence, before.product),
        _ask_sources(core, before, before.product, before.question),
    )
    return Inquired(answer, made, asked_on, elsewhere, sources, fetched)


async def _ask_sources(
    core: LendingCore, before: _Before, product: Product, question: BureauQuestion
) -> tuple[dict[str, Mapping[str, int]], tuple[str, ...]]:
    """Return what the product's sources say: what is kept of them, else asked now, all at once."""
    connected = {one.id: one for one in core.sources}
    wanted = [one for one in core.risk.sources.outside(product) if one.id in before.consents]
    kept = {one.id: before.consents[one.id][1] for one in wanted}
    missing = [one for one in wanted if kept[one.id] is None and one.id in connected]
    answers = await asyncio.gather(
        *(
            ask_source(
                connected[one.id],
                one,
                SourceQuestion(before.consents[one.id][0], question.name, question.id_number),
                product.risk.step_budget_ms,
            )
            for one in missing
        )
    )
    fetched = {one.id: said for one, said in zip(missing, answers, strict=True) if said is not None}
    known = {source_id: said for source_id, said in kept.items() if said is not None}
    return known | fetched, tuple(fetched)


async def keep_answers(
    connection: Connection, core: LendingCore, about: tuple[str, dt.date, str], inquired: Inquired
) -> None:
    """Write what outside sources said now, each until its time is over; `about`: customer, day, key."""
    if not inquired.fetched:
        return
    customer_id, day, key = about
    rows = [core.risk.sources.by_id[name] for name in inquired.fetched]
    values = {
        "customer_id": customer_id,
        "day": day,
        "key": key,
        "sources": [row.id for row in rows],
        "fields": [Jsonb(dict(inquired.sources[row.id])) for row in rows],
        "keep_until": [row.keep_until(day) for row in rows],
    }
    await connection.execute(_KEEP_ANSWERS, values)


async def _give(answer: BureauAnswer) -> tuple[BureauAnswer, bool, dt.date | None]:
    return answer, False, None


async def _find_answer(
    core: LendingCore, before: _Before, product: Product
) -> tuple[BureauAnswer, bool, dt.date | None]:
    """Return an answer that is still valid, or inquire."""
    risk = product.risk
    known, known_on = before.known, before.known_on
    if known is not None and known_on is not None:
        age_days = (before.today - known_on).days
        if age_days <= risk.bureau_valid_days:
            return BureauAnswer(known, None, 0), False, known_on
    assert before.question is not None  # noqa: S101 - the caller has looked
    answer = await ask_bureau(core.bureau, before.question, risk.bureau_timeout_ms, core.read_elapsed)
    return answer, True, before.today


async def _count(
    core: LendingCore, cell: str, evidence: Sequence[Evidence], product: Product
) -> Counts | None:
    if not evidence:
        return {}
    risk = product.risk
    return await count_elsewhere(core, cell, evidence, risk.window_minutes, risk.step_budget_ms)


async def _read_before(
    core: LendingCore, command: Command, cell: str, wanted: tuple[str, str, str]
) -> _Before:
    customer_id, product_id, authorisation = wanted
    chunk = core.chunk_of_customer(customer_id)
    values = {"today": command.today, "chunk": chunk, "customer_id": customer_id, "key": command.key}

    async def work(connection: Connection, epoch: int) -> _Before:
        rows = await connection.execute(_BEFORE, values)
        consented = await connection.execute(_CONSENTED, values) if core.sources else None
        asked = await ask_on_sale(core, connection, product_id, command.today, chunk)
        row = await rows.fetchone()
        if row is None:
            raise RuntimeError("a question that always has a row came back without one")
        today, name, id_number, was_asked, report, asked_on = row
        product = await asked.fetch(today)
        if name is None or was_asked:
            return _Before(today, product, None, None, None)
        question = BureauQuestion(
            authorisation,
            core.vault.decrypt(CUSTOMER_NAME, customer_id, name),
            core.vault.decrypt(CUSTOMER_ID_NUMBER, customer_id, id_number),
        )
        known = BureauReport.model_validate(report) if report is not None else None
        consents = await consented.fetchall() if consented is not None else []
        by_source = {source: (reference, said) for source, reference, said in consents}
        return _Before(today, product, question, known, asked_on, by_source)

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value
