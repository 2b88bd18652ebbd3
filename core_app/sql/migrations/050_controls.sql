-- Level-3 evidence: what two people attest, and which runs were made. Runs as biyi_owner in every cell; only the
-- first cell's rows are used, beside the accounts of those who attest. Append-only; every row leaves an audit
-- entry in its own transaction, so a run's pack is anchored in the signed chains of both sites.

create schema controls;

create table controls.attestations (
    attestation_id text primary key check (attestation_id ~ '^T[0-9a-f]{32}$'),
    item           text not null check (item ~ '^8\.[12](\.[0-9]{1,2}){2}(\.[a-j])?$'),
    holds          boolean not null,
    owner          text not null check (owner ~ '^[a-z]{2,20}$'),
    statement      text not null check (length(statement) between 10 and 2000),
    document       text not null check (length(document) between 1 and 200),
    document_sm3   bytea not null check (length(document_sm3) = 32),
    valid_from     date not null,
    valid_to       date not null check (valid_to - valid_from between 0 and 366),
    made_by        text not null check (made_by ~ '^[a-z][a-z0-9._-]{1,39}$'),
    at             timestamptz not null default now()
);
create index attestations_by_item on controls.attestations (item, at);

create table controls.confirmations (
    attestation_id text primary key references controls.attestations,
    confirmed_by   text not null check (confirmed_by ~ '^[a-z][a-z0-9._-]{1,39}$'),
    at             timestamptz not null default now()
);

create table controls.withdrawals (
    attestation_id text primary key references controls.attestations,
    withdrawn_by   text not null check (withdrawn_by ~ '^[a-z][a-z0-9._-]{1,39}$'),
    reason         text not null check (length(reason) between 5 and 500),
    at             timestamptz not null default now()
);

create function controls.refuse_one_person() returns trigger language plpgsql as $$
begin
    if exists (select from controls.attestations a
               where a.attestation_id = new.attestation_id and a.made_by = new.confirmed_by) then
        raise exception 'an attestation takes two people' using errcode = 'BY130';
    end if;
    return new;
end $$;
create trigger two_people before insert on controls.confirmations
    for each row execute function controls.refuse_one_person();

-- One row a run; `previous_sm3` is the pack before it, so no run can be left out of the row of runs.
create table controls.runs (
    number       bigint primary key check (number > 0),
    pack_sm3     bytea not null unique check (length(pack_sm3) = 32),
    previous_sm3 bytea check ((previous_sm3 is null) = (number = 1)),
    form         text not null check (form in ('stand', 'cluster')),
    met          integer not null,
    not_met      integer not null,
    unknown      integer not null,
    points_2021  numeric(5, 2) not null,
    met_percent  numeric(5, 2) not null,
    run_at       timestamptz not null,
    at           timestamptz not null default now()
);

do $$
declare
    kept text;
begin
    foreach kept in array array['attestations', 'confirmations', 'withdrawals', 'runs'] loop
        execute format('create trigger %1$s_append_only before update or delete or truncate on controls.%1$I
            for each statement execute function core.refuse_change()', kept);
        execute format('create trigger %1$s_are_audited after insert on controls.%1$I
            for each row execute function audit.note_row()', kept);
    end loop;
end $$;

grant usage on schema controls to biyi_staff;
grant select on all tables in schema controls to biyi_staff;
grant insert (attestation_id, item, holds, owner, statement, document, document_sm3, valid_from, valid_to,
    made_by) on controls.attestations to biyi_staff;
grant insert (attestation_id, confirmed_by) on controls.confirmations to biyi_staff;
grant insert (attestation_id, withdrawn_by, reason) on controls.withdrawals to biyi_staff;
grant insert (number, pack_sm3, previous_sm3, form, met, not_met, unknown, points_2021, met_percent, run_at)
    on controls.runs to biyi_staff;

-- As core.guard_rows() has it for the schemas of the core: whoever is granted a table by mistake sees no row.
alter table controls.attestations enable row level security;
alter table controls.confirmations enable row level security;
alter table controls.withdrawals enable row level security;
create policy cell_of_staff on controls.attestations to biyi_staff using (true) with check (true);
create policy cell_of_staff on controls.confirmations to biyi_staff using (true) with check (true);
create policy cell_of_staff on controls.withdrawals to biyi_staff using (true) with check (true);
