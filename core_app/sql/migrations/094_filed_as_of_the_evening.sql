-- Filings see each loan as it stood on the evening: also its rate, and which instalments were paid late. Runs as
-- biyi_owner in every cell.

grant select (loan_id, plan_version, rate_before, decided_on) on core.rate_changes to biyi_report;
grant select (loan_id, period) on core.late_lines to biyi_report;

-- It reads loan_funders and writes nothing: a filing of a large cell may use more than one process.
alter function core.own_part(text, bigint) parallel safe;
