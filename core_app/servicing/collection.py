"""The collection strategy: which steps fall on which day past due, for every product. Pure.

A product says from which day past due which tier begins (`collection.tiers`, in its versioned document);
`strategies.yaml` says, version by version, what a tier does: on which of its days, through which channel,
with which script. A row whose channel the product does not list (`collection.methods`) is left out.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.model import Product
from core_app.products.parameters.shapes import Group, Name
from core_app.rules.legal import Rulebook
from core_app.servicing.contact import Channel
from core_app.servicing.scripts import Library

FOREVER_DAYS = 100_000
"""Last day of a tier without an end. Source: `Count` in products/parameters/shapes.py."""
Days = Annotated[int, Field(ge=0, strict=True)]


class StrategyRow(Group):
    """What a tier does: from its day `after_days` (its first is 0) to `until_days`, every so many days."""

    tier: Name
    after_days: Days
    until_days: Days | None = None
    every_days: Annotated[int, Field(gt=0, strict=True)]
    channel: Channel
    script: Name


class Strategy(Group):
    """One version of the strategy, used from a day on until a later one begins."""

    version: Annotated[int, Field(gt=0, strict=True)]
    first_day: dt.date = Field(alias="from")
    rows: Annotated[tuple[StrategyRow, ...], Field(min_length=1)]


class Strategies(Group):
    """All versions, the oldest first."""

    strategies: Annotated[tuple[Strategy, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "Strategies":
        for earlier, later in pairwise(self.strategies):
            if later.version != earlier.version + 1 or later.first_day <= earlier.first_day:
                raise ValueError(f"version {later.version}: needs the next number and a later day")
        return self

    def find(self, day: dt.date) -> Strategy:
        """Return the version of a day; DocumentInvalid when none had begun."""
        begun = [one for one in self.strategies if one.first_day <= day]
        if not begun:
            raise DocumentInvalid(f"strategies.yaml: no version is in use on {day}")
        return begun[-1]


STRATEGIES: TypeAdapter[Strategies] = TypeAdapter(Strategies)


def check_strategies(strategies: Strategies, library: Library) -> None:
    """DocumentInvalid when a row names a script that is not there on its first day, or of another channel."""
    for strategy in strategies.strategies:
        for row in strategy.rows:
            script, _ = library.find(row.script, strategy.first_day)
            if script.channel is not row.channel:
                raise DocumentInvalid(
                    f"strategies.yaml: version {strategy.version}: {row.script} is for {script.channel}, "
                    f"the row is for {row.channel}"
                )


# The number is the same whoever orders it. Days past due are those of the day that the task is for.
PLAN_TASKS = """
with day as (
    select %(day)s::date + 1 as on_date,
           (%(day)s::date + 1 + time '09:00') at time zone 'Asia/Shanghai' as opens
), step as (
    select * from unnest(%(step_products)s::text[], %(step_versions)s::integer[],
        %(step_first_days)s::integer[], %(step_last_days)s::integer[], %(step_every_days)s::integer[],
        %(step_channels)s::text[], %(step_scripts)s::text[], %(step_quiet_from)s::smallint[],
        %(step_quiet_until)s::smallint[], %(step_strategy_versions)s::integer[])
        as t (product, product_version, first_days, last_days, every_days, channel, script, quiet_from,
            quiet_until, strategy_version)
), late as (
    select s.loan_id, s.customer_id, s.product, s.product_version, d.on_date, d.opens,
           d.on_date - s.next_due as days
    from day d join core.loan_snapshots s on s.on_date = %(day)s and s.next_due < d.on_date
    where s.loan_id >= %(first)s and s.loan_id < %(last)s
        and not exists (
            select from core.hardships h where h.loan_id = s.loan_id and h.rest_until >= d.on_date)
), ordered as (
    insert into core.collection_tasks (task_id, loan_id, customer_id, channel, script, strategy_version,
        days_past_due, on_date, quiet_from, quiet_until, due_at, give_up_at, changed_by, idempotency_key)
    select 'T' || substr(l.loan_id, 2, 4) || left(encode(sha256(convert_to(
               concat_ws('/', l.loan_id, t.channel, t.script, l.on_date), 'UTF8')), 'hex'), 32),
           l.loan_id, l.customer_id, t.channel, t.script, t.strategy_version, l.days, l.on_date,
           t.quiet_from, t.quiet_until, greatest(now(), l.opens),
           greatest(now(), l.opens) + interval '36 hours', %(site)s, %(key)s
    from late l join step t using (product, product_version)
    where l.days between t.first_days and t.last_days and (l.days - t.first_days) %% t.every_days = 0
    on conflict (task_id) do nothing
    returning task_id, loan_id, customer_id, channel, script, days_past_due, on_date
)
insert into core.outbox (topic, key, payload, idempotency_key)
select 'collection.ordered', o.task_id, to_jsonb(o), %(key)s from ordered o
"""


def collection_columns(
    products: Iterable[Product], strategies: Strategies, rulebook: Rulebook, day: dt.date
) -> dict[str, list[Any]]:
    """Return the steps of the day after `day`, as PLAN_TASKS takes them: one row a product's step."""
    on_date = day + dt.timedelta(days=1)
    strategy = strategies.find(on_date)
    law = tuple(int(rulebook.value(f"collect.quiet_{end}", on_date)) for end in ("from", "until"))
    rows = [row for product in products for row in _list_steps(product, strategy, (law[0], law[1]))]
    names = ["products", "versions", "first_days", "last_days", "every_days", "channels", "scripts"]
    names += ["quiet_from", "quiet_until", "strategy_versions"]
    return {f"step_{name}": [row[place] for row in rows] for place, name in enumerate(names)}


def _list_steps(product: Product, strategy: Strategy, law: tuple[int, int]) -> Iterator[tuple[Any, ...]]:
    own = product.collection
    quiet = (min(law[0], own.quiet_from_hour), max(law[1], own.quiet_until_hour))
    tiers = sorted(own.tiers, key=lambda tier: tier.from_day)
    ends = [*(tier.from_day - 1 for tier in tiers[1:]), FOREVER_DAYS]
    for tier, end in zip(tiers, ends, strict=True):
        for row in _rows_of(strategy.rows, tier.method, own.methods):
            first = max(1, tier.from_day) + row.after_days
            last = end if row.until_days is None else min(end, max(1, tier.from_day) + row.until_days)
            if first <= last:
                yield (
                    *(product.id, product.version, first, last, row.every_days, str(row.channel), row.script),
                    *(*quiet, strategy.version),
                )


def _rows_of(rows: Sequence[StrategyRow], tier: str, methods: Sequence[str]) -> Iterator[StrategyRow]:
    return (row for row in rows if row.tier == tier and str(row.channel) in methods)
