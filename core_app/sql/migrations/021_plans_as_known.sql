-- From when a plan of a loan is known: variables look at what was due by the plan of that day.
-- Runs as biyi_owner.

alter table core.instalments disable trigger instalments_append_only;
-- The business date on which the version was made; null for a draw's own plan.
alter table core.instalments add column made_on date;
update core.instalments i set made_on = r.booked_on
from core.repayments r
where r.loan_id = i.loan_id and r.kind = 'prepayment' and i.plan_version = r.plan_version + 1;
update core.instalments i set made_on = r.decided_on
from core.rate_changes r where r.loan_id = i.loan_id and r.plan_version = i.plan_version;
alter table core.instalments enable trigger instalments_append_only;
alter table core.instalments add check (plan_version > 1 or made_on is null);
