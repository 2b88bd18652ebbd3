"""The statements of applications and of how they were decided."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from core_app.core import Connection
from core_app.customers.placing import SEGMENT_COLUMN
from core_app.customers.verify import HELD_COLUMN
from core_app.decisions.inquiry import Inquired
from core_app.decisions.pre_screen import LISTED_COLUMN
from core_app.decisions.steps import StepResult
from core_app.decisions.strategy import STRATEGY_COLUMN

# The day is held until the command ends (core.enter_day): its variables are read by what it is dated.
# The applicant as the steps see them: sealed ID number, the last refusal but for those that were our own
# slowness, the cool-off itself, not being on a list or in a segment, the tier before, the newest place in a
# gang, the lists they stand on, the model that decides, their segment. One row, whoever asks.
SELECT_APPLICANT = f"""
select d.day, c.id_number, c.region,
    (select max(a.decided_on) from core.applications a
     where a.customer_id = c.customer_id and a.decision = 'refused'
         and not a.reasons @> '[{{"rule": "cool_off"}}]' and not a.reasons @> '[{{"rule": "pre_screen"}}]'
         and not a.reasons @> '[{{"rule": "segment"}}]'
         and not exists (select from core.decision_steps s
                         where s.application_id = a.application_id and s.outcome = 'over_budget')),
    (select t.tier from core.customer_tiers t where t.customer_id = c.customer_id
     order by t.tier_id desc limit 1),
    m.gang, m.customers, m.density, {HELD_COLUMN}, {LISTED_COLUMN}, {STRATEGY_COLUMN},
    {SEGMENT_COLUMN}
from (select core.enter_day(%(chunk)s::smallint, %(today)s::date) as day) as d
left join core.customers c on c.customer_id = %(customer_id)s
left join lateral (
    select g.gang, g.customers, g.density::text from core.gang_members g
    where g.customer_id = c.customer_id
        and g.run_id = (select r.run_id from core.gang_runs r order by r.at desc limit 1)
) as m on true
"""  # noqa: S608 - put together of constants

INSERT_APPLICATION = """
insert into core.applications (application_id, customer_id, product, product_version, amount_fen, periods,
    purpose, channel, region, segment, decision, reasons, limit_fen, tier_limit_fen, decided_on,
    idempotency_key)
values (%(application_id)s, %(customer_id)s, %(product)s, %(product_version)s, %(amount_fen)s, %(periods)s,
    %(purpose)s, %(channel)s, %(region)s, %(segment)s, %(decision)s, %(reasons)s, %(limit_fen)s,
    %(tier_limit_fen)s, %(decided_on)s, %(key)s)
"""

_INSERT_STEPS = """
insert into core.decision_steps (application_id, ordinal, step, outcome, elapsed_us, budget_ms, reasons,
    facts)
select %(application_id)s, g.* from unnest(%(ordinals)s::smallint[], %(steps)s::text[], %(outcomes)s::text[],
    %(elapsed)s::bigint[], %(budgets)s::integer[], %(reasons)s::jsonb[], %(facts)s::jsonb[]) as g
"""

_INSERT_TIER = """
insert into core.customer_tiers (customer_id, application_id, score, tier, policy_version, decided_on)
values (%(customer_id)s, %(application_id)s, %(score)s, %(tier)s, %(policy_version)s, %(decided_on)s)
"""

_INSERT_INQUIRY = """
insert into core.bureau_inquiries (customer_id, application_id, authorisation, outcome, report, elapsed_ms,
    asked_on)
values (%(customer_id)s, %(application_id)s, %(authorisation)s, %(outcome)s, %(report)s, %(elapsed_ms)s,
    %(asked_on)s)
"""

SELECT_DECISION = """
select a.customer_id, a.product, a.product_version, a.amount_fen, a.periods, a.decision, a.reasons,
    a.limit_fen, a.decided_on, a.segment,
    coalesce((select jsonb_agg(jsonb_build_object('step', s.step, 'outcome', s.outcome,
                  'elapsed_us', s.elapsed_us, 'budget_ms', s.budget_ms, 'reasons', s.reasons,
                  'facts', s.facts) order by s.ordinal)
              from core.decision_steps s where s.application_id = a.application_id), '[]'::jsonb)
from core.applications a where a.application_id = %s
"""


@dataclass(frozen=True, slots=True)
class Applicant:
    """A row of SELECT_APPLICANT; an unknown customer has but day, `listed` and `deciding`."""

    today: dt.date
    id_number: bytes | None
    region: str | None
    refused_on: dt.date | None
    earlier_tier: str | None
    gang: str | None
    gang_customers: int | None
    gang_density: str | None
    evidence: Mapping[str, Sequence[Any]] | None
    """What identity vendors found, as `core_app.customers.verify` reads it."""
    listed: Sequence[str]
    """The products whose lists have the customer today."""
    deciding: Sequence[str] | None
    """The model that decides by a strategy and the other of its pair, None without one."""
    segment: str | None
    """The segment that the customer is in today."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The tier that a score gave and that hysteresis will remember."""

    score: int
    tier: str
    policy_version: int


async def fetch_applicant(cursor: Any) -> Applicant:
    """Return the row of a SELECT_APPLICANT that was sent."""
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a question that always has a row came back without one")
    return Applicant(*row)


async def keep_steps(connection: Connection, application_id: str, steps: Sequence[StepResult]) -> None:
    """Write the steps of a decision in order, by one statement."""
    await connection.execute(
        _INSERT_STEPS,
        {
            "application_id": application_id,
            "ordinals": list(range(1, len(steps) + 1)),
            "steps": [step.step for step in steps],
            "outcomes": [str(step.outcome) for step in steps],
            "elapsed": [step.elapsed_us for step in steps],
            "budgets": [step.budget_ms for step in steps],
            "reasons": [Jsonb([reason.as_plain() for reason in step.reasons]) for step in steps],
            "facts": [Jsonb(dict(step.facts)) for step in steps],
        },
    )


async def keep_grade(connection: Connection, about: dict[str, Any], grade: Grade) -> None:
    """Write the tier; `about` has customer_id, application_id and decided_on."""
    values = {"score": grade.score, "tier": grade.tier, "policy_version": grade.policy_version}
    await connection.execute(_INSERT_TIER, about | values)


async def keep_inquiry(
    connection: Connection, about: dict[str, Any], authorisation: str | None, inquired: Inquired
) -> None:
    """Write an inquiry that was made, with its answer or why there is none."""
    if not inquired.made:
        return
    answer = inquired.answer
    values = {
        "authorisation": authorisation,
        "outcome": "answered" if answer.missing is None else str(answer.missing),
        "report": Jsonb(answer.report.model_dump()) if answer.report is not None else None,
        "elapsed_ms": answer.elapsed_ms,
        "asked_on": inquired.asked_on,
    }
    await connection.execute(_INSERT_INQUIRY, about | values)
