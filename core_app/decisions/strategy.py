"""Let the challenger decide, or the champion again: back-tested, by two people, from one day in all cells.

The back-test asks what each model made of the same applications of the last days, as it is kept of every
decision, and what became of the loans. It decides nothing: two people do, one asks and one approves.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from psycopg.types.json import Jsonb

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_conflict, refuse_field
from core_app.outbox import Told
from core_app.products.published import read_all_on_sale

LOOK_BACK_DAYS = 90
"""Applications of so many days are asked for. Source: our choice, the longest window of the variables."""
LEAST_DECISIONS = 100
"""Fewest decisions that both models made before one follows the other. Source: our choice."""

# Of the day `d.day`: the model that decides and the one it was compared with, null when nothing but the
# policy says so. The numbers, not the order of arrival: every cell has the same ones.
STRATEGY_COLUMN = """
(select array[s.model, s.other] from core.strategies s where s.valid_from <= d.day
 order by s.valid_from desc, s.number desc limit 1)
"""

_ASK = """
select coalesce(b.on_date, %(today)s::date), exists (
    select from core.commands where idempotency_key = %(key)s)
from core.business_date b
"""

# Each application that both models scored, once; loans of it, and those that were past due on any evening or
# are written off.
_BACK_TEST = """
with scored as (
    select a.application_id,
           p.points[array_position(p.models, %(model)s)] >= f.floor as by_model,
           p.points[array_position(p.models, %(other)s)] >= f.floor as by_other
    from core.applications a
    join core.decision_steps s using (application_id)
    join unnest(%(products)s::text[], %(floors)s::integer[]) as f (product, floor) using (product),
    lateral (select array[s.facts -> 'main' ->> 'model', s.facts -> 'challenger' ->> 'model'],
                    array[(s.facts -> 'main' ->> 'points')::integer,
                          (s.facts -> 'challenger' ->> 'points')::integer]) as p (models, points)
    where a.decided_on > %(first)s and s.step = 'score' and s.outcome in ('passed', 'refused')
        and p.models @> array[%(model)s, %(other)s]
), became as (
    select s.*, l.loan_id, l.written_off_on is not null or exists (
               select from core.loan_snapshots n where n.loan_id = l.loan_id and n.days_past_due > 0) as late
    from scored s left join core.contracts k using (application_id) left join core.loans l using (contract_id)
)
select count(distinct application_id),
       count(distinct application_id) filter (where by_model and by_other),
       count(distinct application_id) filter (where by_model and not by_other),
       count(distinct application_id) filter (where by_other and not by_model),
       count(loan_id) filter (where by_model), count(loan_id) filter (where by_model and late),
       count(loan_id) filter (where not by_model), count(loan_id) filter (where not by_model and late)
from became
"""

# The first cell numbers strategies one after another, the second statement behind the lock of the first; the
# others are told the number.
_HOLD = "select pg_advisory_xact_lock(1937011297)"  # 'stra'
_NUMBER = "select coalesce(max(number), 0) + 1 from core.strategies"

_INSERT = """
insert into core.strategies (number, model, other, valid_from, back_test, reason, staff, idempotency_key)
values (%(number)s, %(model)s, %(other)s, %(valid_from)s, %(back_test)s, %(reason)s, %(staff)s, %(key)s)
"""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A model that is to decide from a business date on."""

    model: str
    valid_from: dt.date
    reason: str
    staff: str


@dataclass(frozen=True, slots=True)
class BackTest:
    """Counts of applications, then of loans drawn of those that the model lets in, and of the others."""

    decided: int = 0
    passed_by_both: int = 0
    passed_by_model_only: int = 0
    passed_by_other_only: int = 0
    loans_let_in: int = 0
    late_let_in: int = 0
    loans_kept_out: int = 0
    late_kept_out: int = 0

    def plus(self, other: "BackTest") -> "BackTest":
        """Return both together."""
        return BackTest(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def _other_of(core: LendingCore, model: str, path: str) -> str:
    """Return the model that `model` is compared with; Refused when it is neither champion nor challenger."""
    wanted = core.risk.policy.models
    pair = [wanted.main, *([wanted.challenger] if wanted.challenger else [])]
    if model not in pair or len(pair) < 2:
        raise refuse_field(path, "a model that is neither champion nor challenger", " or ".join(pair))
    return pair[1 - pair.index(model)]


@dataclass(frozen=True, slots=True)
class _Looked:
    """What all cells say together: the counts, the latest business date, whether the command is known."""

    counts: BackTest
    today: dt.date
    known: bool
    epoch: int


async def _test_back(core: LendingCore, model: str, other: str, key: str = "") -> _Looked:
    counts, known, epoch = BackTest(), False, 0
    days: list[dt.date] = []
    for cell in core.router.cells:

        async def work(connection: Connection, _: int) -> tuple[BackTest, dt.date, bool]:
            calendar = core.read_today()
            asked = await connection.execute(_ASK, {"today": calendar, "key": key})
            today, done = await asked.fetchone() or (calendar, False)
            products = await read_all_on_sale(core, connection, today)
            values = {
                "model": model,
                "other": other,
                "products": [product.id for product in products],
                "floors": [product.risk.score_floor for product in products],
                "first": today - dt.timedelta(days=LOOK_BACK_DAYS),
            }
            row = await (await connection.execute(_BACK_TEST, values)).fetchone()
            return BackTest(*(row or ())), today, done

        read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
        found, today, done = read.value
        counts, known, epoch = counts.plus(found), known or done, read.epoch
        days.append(today)
    return _Looked(counts, max(days), known, epoch)


async def show_back_test(core: LendingCore, model: str) -> Done:
    """Return what a model would have decided beside the other, over all cells; nothing is recorded."""
    other = _other_of(core, model, "query.model")
    looked = await _test_back(core, model, other)
    body = {"model": model, "other": other, "days": LOOK_BACK_DAYS, **asdict(looked.counts)}
    return Done(core.router.cells[-1], Answer(200, body, looked.epoch, replayed=False))


def _need_later(wish: Strategy, today: dt.date) -> None:
    """Refused when the day is not two on: a day-end under way may have begun the next one for some."""
    first = today + dt.timedelta(days=2)
    if wish.valid_from < first:
        raise refuse_field("body.valid_from", str(wish.valid_from), f"a day from {first} on")


async def set_strategy(core: LendingCore, command: Command, wish: Strategy) -> Done:
    """Let a model decide from a day on, in each cell by a command of the same key; the other challenges it.

    Refused, in every cell, when the day is less than two on in one of them, or when the two have too few
    decisions to compare. What the first cell has kept is kept in the others to the letter; a cell that does
    not answer is told when the request is repeated.
    """
    other = _other_of(core, wish.model, "body.model")
    looked = await _test_back(core, wish.model, other, command.key)
    if not looked.known:
        _need_later(wish, looked.today)
        if looked.counts.decided < LEAST_DECISIONS:
            told = f"{looked.counts.decided} applications that both models scored in {LOOK_BACK_DAYS} days"
            raise refuse_conflict("body.model", told, f"{LEAST_DECISIONS} or more")
    first, *others = core.router.cells
    kept = {"model": wish.model, "other": other, "valid_from": wish.valid_from.isoformat()}
    done = await _keep(core, first, command, wish, kept | {"back_test": asdict(looked.counts)})
    for cell in others:
        await _keep(core, cell, command, wish, done.answer.body)
    return done


async def _keep(
    core: LendingCore, cell: str, command: Command, wish: Strategy, kept: Mapping[str, Any]
) -> Done:
    """Keep `kept` in one cell as one command; without a number it gets the next one."""

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await connection.execute(_ASK, {"today": command.today, "key": command.key})
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        today, _ = await asked.fetchone() or (command.today, True)
        _need_later(wish, today)
        body = dict(kept)
        if "number" not in body:
            await connection.execute(_HOLD)
            (body["number"],) = await (await connection.execute(_NUMBER)).fetchone() or (1,)
        about = {"reason": wish.reason, "staff": wish.staff}
        values = {"back_test": Jsonb(body["back_test"]), "key": command.key}
        await connection.execute(_INSERT, body | about | values)
        told = Told("strategy.set", wish.model, body | about)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)
