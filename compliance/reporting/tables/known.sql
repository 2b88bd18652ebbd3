-- Instalments `i` of a loan that had another plan: those of the newest plan that was known on the evening, and what
-- the plans before it had laid down up to its first period.
coalesce(i.made_on, {day}) <= {day} and not exists (
    select from core.instalments j where j.loan_id = i.loan_id and j.plan_version > i.plan_version
        and j.period <= i.period and j.made_on <= {day})
