"""The sums that indicators are judged by: read cell by cell, added up over the company."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core_app.core import Connection, LendingCore
from core_app.indicators.table import TABLE, Indicator, Sums
from core_app.yaml_documents import parse_yaml, read_text

FILE = Path(__file__).parent / "table.yaml"
WINDOW_DAYS = 30
"""How far back new loans and decisions count. Source: our choice, a month."""

# The newest closing of each chunk; amounts are our own parts.
_CLOSED = """
select c.product, c.region,
       (c.normal_fen + c.special_mention_fen + c.substandard_fen + c.doubtful_fen + c.loss_fen)::bigint,
       c.special_mention_fen, (c.substandard_fen + c.doubtful_fen + c.loss_fen)::bigint, c.by_60_days_fen,
       (c.provision_general_fen + c.provision_specific_fen)::bigint
from core.closings c
where c.on_date = (select max(n.on_date) from core.closings n where n.chunk = c.chunk)
"""

_JOINT = """
select f.funder, l.loan_id, core.own_part(l.loan_id, l.balance_fen)
from core.loan_funders f join core.loans l using (loan_id)
where f.funder <> 'own' and l.settled_on is null and l.written_off_on is null
"""

_NEW = """
select coalesce(sum(principal_fen), 0)::bigint, coalesce(sum(round(principal_fen * rate_annual)), 0)::bigint
from core.loans l
where l.drawn_on > %(since)s and not exists (select from core.draw_voids v where v.loan_id = l.loan_id)
"""

_DECIDED = """
select count(*) filter (where decision = 'approved'), count(*) from core.applications
where decided_on > %(since)s
"""


_COMPANY = (
    "own_fen",
    "special_mention_fen",
    "npl_fen",
    "by_60_days_fen",
    "provision_fen",
    "joint_own_fen",
    "new_principal_fen",
    "new_interest_year_fen",
    "approved_cases",
    "decided_cases",
)


@dataclass(slots=True)
class Added:
    """Sums over the cells read so far; by product, province and partner where the largest counts."""

    company: Counter[str] = field(default_factory=Counter)
    products: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    partners: Counter[str] = field(default_factory=Counter)

    def as_sums(self, tier1_capital_fen: int | None) -> tuple[Sums, Mapping[str, Sums]]:
        """Return the company's sums and those of each partner."""
        company: dict[str, int | None] = {name: self.company[name] for name in _COMPANY}
        company["largest_product_fen"] = max(self.products.values(), default=0)
        company["largest_region_fen"] = max(self.regions.values(), default=0)
        company["tier1_capital_fen"] = tier1_capital_fen
        return company, {name: {"with_partner_own_fen": fen} for name, fen in self.partners.items()}


def read_table(file: Path = FILE) -> tuple[Indicator, ...]:
    """Return the table; DocumentInvalid names the row and field of a bad one."""
    return parse_yaml(file.name, read_text(file), TABLE)


async def add_cell(core: LendingCore, cell: str, added: Added) -> None:
    """Add one cell's sums, as of its newest evenings; reads its joint loans one by one: for reports."""

    async def work(connection: Connection, _: int) -> Added:
        here = Added()
        for product, region, own, special, npl, by_60, provision in await _rows(connection, _CLOSED):
            here.products[product] += own
            here.regions[region] += own
            here.company.update(
                own_fen=own,
                special_mention_fen=special,
                npl_fen=npl,
                by_60_days_fen=by_60,
                provision_fen=provision,
            )
        loans: dict[str, int] = {}
        for funder, loan_id, own in await _rows(connection, _JOINT):
            here.partners[funder] += own
            loans[loan_id] = own
        here.company["joint_own_fen"] += sum(loans.values())
        since = {"since": core.read_today() - dt.timedelta(days=WINDOW_DAYS)}
        ((principal, interest),) = await _rows(connection, _NEW, since)
        ((approved, decided),) = await _rows(connection, _DECIDED, since)
        here.company.update(new_principal_fen=principal, new_interest_year_fen=interest)
        here.company.update(approved_cases=approved, decided_cases=decided)
        return here

    found = (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value
    for name in ("company", "products", "regions", "partners"):
        getattr(added, name).update(getattr(found, name))


async def _rows(
    connection: Connection, query: str, values: Mapping[str, dt.date] | None = None
) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, values)).fetchall()
