"""Which notices day-end orders for the next day, and the statement that orders them, once.

Which loans: those whose oldest open due date lies as many days ahead or behind as the product says
(`notices.due_before_days`, `overdue_days`), and those whose rate changed lately. Each medium is a notice of
its own. They are sent by `core_app.notices.send`, which looks anew what is owed by then.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

from core_app.products.model import Product

# The number is the same whoever orders it: by day, but for a changed rate, of which is told once.
PLAN_NOTICES = """
with day as (
    select %(day)s::date + 1 as on_date,
           (%(day)s::date + 1 + time '09:00') at time zone 'Asia/Shanghai' as opens
), told as (
    select * from unnest(%(told_products)s::text[], %(told_versions)s::integer[], %(told_kinds)s::text[],
        %(told_media)s::text[], %(told_about)s::date[], %(told_quiet_from)s::smallint[],
        %(told_quiet_until)s::smallint[])
        as t (product, product_version, kind, medium, about, quiet_from, quiet_until)
), found as (
    select s.loan_id, s.customer_id, t.kind, t.medium, t.about, t.quiet_from, t.quiet_until,
           concat_ws('/', s.loan_id, t.kind, t.medium, t.about, d.on_date) as name
    from day d, core.loan_snapshots s join told t
        on t.product = s.product and t.product_version = s.product_version and t.about = s.next_due
    where s.on_date = %(day)s and s.loan_id >= %(first)s and s.loan_id < %(last)s and t.kind <> 'rate_change'
    union all
    select l.loan_id, l.customer_id, t.kind, t.medium, r.begins, t.quiet_from, t.quiet_until,
           concat_ws('/', l.loan_id, t.kind, t.medium, r.plan_version)
    from core.rate_changes r join core.loans l using (loan_id) join told t
        on t.product = l.product and t.product_version = l.product_version and t.kind = 'rate_change'
    where r.loan_id >= %(first)s and r.loan_id < %(last)s and r.begins <= t.about
        and r.decided_on between %(day)s::date - 30 and %(day)s::date + 1
        and l.settled_on is null and l.written_off_on is null
), ordered as (
    insert into core.notices (notice_id, loan_id, customer_id, kind, medium, about, on_date, quiet_from,
        quiet_until, due_at, give_up_at, changed_by, idempotency_key)
    select 'N' || substr(f.loan_id, 2, 4) || left(encode(sha256(convert_to(f.name, 'UTF8')), 'hex'), 32),
           f.loan_id, f.customer_id, f.kind, f.medium, f.about, d.on_date, f.quiet_from, f.quiet_until,
           greatest(now(), d.opens), greatest(now(), d.opens) + interval '36 hours', %(site)s, %(key)s
    from found f, day d
    on conflict (notice_id) do nothing
    returning notice_id, loan_id, customer_id, kind, medium, about
)
insert into core.outbox (topic, key, payload, idempotency_key)
select 'notice.ordered', o.notice_id, to_jsonb(o), %(key)s from ordered o
"""


def notice_columns(products: Iterable[Product], day: dt.date) -> dict[str, list[Any]]:
    """Return what is told on the day after `day`, as PLAN_NOTICES takes it: one row a due date and medium."""
    rows = [row for product in products for row in _list_notices(product, day + dt.timedelta(days=1))]
    names = ("products", "versions", "kinds", "media", "about", "quiet_from", "quiet_until")
    return {f"told_{name}": [row[place] for row in rows] for place, name in enumerate(names)}


def _list_notices(product: Product, on_date: dt.date) -> Iterator[tuple[Any, ...]]:
    notices, quiet = product.notices, product.collection
    dates = [("due", on_date + dt.timedelta(days=days)) for days in notices.due_before_days]
    dates += [("overdue", on_date - dt.timedelta(days=days)) for days in notices.overdue_days]
    dates.append(("rate_change", on_date + dt.timedelta(days=notices.rate_change_days)))
    for medium in notices.media:
        for kind, about in dates:
            quiet_hours = (quiet.quiet_from_hour, quiet.quiet_until_hour)
            yield (product.id, product.version, kind, medium, about, *quiet_hours)
