-- A lower rate for borrowers who pay on time: what was changed, and what the borrower was shown of it.
-- Runs as biyi_owner.

create table core.rate_changes (
    loan_id         text not null references core.loans,
    plan_version    smallint not null check (plan_version > 1),
    rate_before     numeric(9, 8) not null,
    rate_after      numeric(9, 8) not null check (rate_after >= 0 and rate_after < rate_before),
    from_period     smallint not null check (from_period > 1),
    begins          date not null,
    document        text not null,
    document_sm3    bytea not null check (length(document_sm3) = 32),
    decided_on      date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (loan_id, plan_version)
);
create trigger rate_changes_append_only before update or delete or truncate on core.rate_changes
    for each statement execute function core.refuse_change();

-- Whether an evening ever found a loan past due.
create index loan_snapshots_late on core.loan_snapshots (loan_id) where days_past_due > 0;

grant select, insert on core.rate_changes to biyi_app;
grant update (rate_annual) on core.loans to biyi_app;
