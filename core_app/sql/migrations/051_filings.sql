-- Filings to regulators: what biyi_report may read for them, and what became of each batch. Runs as biyi_owner in
-- every cell; batches are kept in the first one. Append-only; each row leaves an audit entry.

-- Persons are filed under keyed indexes: no name, number or phone can be read with these rights.
grant select (customer_id, id_number_index, phone_index, region, at) on core.customers to biyi_report;
create policy filed on core.customers for select to biyi_report using (true);
grant select on core.funder_versions, core.entrusted_payments, core.draw_voids, core.payout_orders,
    core.day_end_chunks to biyi_report;

create schema filing;

create table filing.batches (
    batch_id     text primary key check (batch_id ~ '^[a-z0-9]+-[0-9]{8}-[0-9]{3}$'),
    kind         text not null check (kind in ('east', 'pboc', '1104')),
    on_date      date not null,
    since        date,
    version      smallint not null check (version between 1 and 999),
    corrects     text references filing.batches,
    reason       text check (length(reason) between 5 and 500),
    manifest     text not null,
    manifest_sm3 bytea not null check (length(manifest_sm3) = 32),
    made_by      text not null check (made_by ~ '^[a-z]{2,10}$'),
    at           timestamptz not null default now(),
    unique (kind, on_date, version),
    check ((corrects is null) = (version = 1) and (corrects is null) = (reason is null))
);

-- A batch is what its last event says. `sending` is written before the regulator is asked.
create table filing.events (
    batch_id text not null references filing.batches,
    number   smallint not null check (number > 0),
    state    text not null check (state in ('prepared', 'sending', 'received', 'accepted', 'rejected')),
    receipt  text check (receipt ~ '^[A-Za-z0-9-]{4,64}$'),
    note     text not null default '' check (length(note) <= 2000),
    by_site  text not null,
    at       timestamptz not null default now(),
    primary key (batch_id, number),
    check ((receipt is not null) = (state in ('received', 'accepted', 'rejected')))
);

-- The order of states; what is accepted or rejected stays so.
create function filing.check_event() returns trigger language plpgsql as $$
declare
    earlier text := (select state from filing.events where batch_id = new.batch_id order by number desc limit 1);
begin
    if new.number <> 1 + (select count(*) from filing.events where batch_id = new.batch_id)
        or (coalesce(earlier, 'none'), new.state) not in (('none', 'prepared'), ('prepared', 'sending'),
            ('sending', 'sending'), ('sending', 'received'), ('sending', 'accepted'), ('sending', 'rejected'),
            ('received', 'accepted'), ('received', 'rejected')) then
        raise exception 'batch % is %, it cannot become %', new.batch_id, coalesce(earlier, 'none'), new.state
            using errcode = 'BY140';
    end if;
    return new;
end $$;
create trigger in_order before insert on filing.events
    for each row execute function filing.check_event();

do $$
declare
    kept text;
begin
    foreach kept in array array['batches', 'events'] loop
        execute format('create trigger %1$s_append_only before update or delete or truncate on filing.%1$I
            for each statement execute function core.refuse_change()', kept);
        execute format('create trigger %1$s_are_audited after insert on filing.%1$I
            for each row execute function audit.note_row()', kept);
    end loop;
end $$;

grant usage on schema filing to biyi_staff, biyi_report;
grant select on filing.batches, filing.events to biyi_staff, biyi_report;
grant insert (batch_id, kind, on_date, since, version, corrects, reason, manifest, manifest_sm3, made_by)
    on filing.batches to biyi_staff;
grant insert (batch_id, number, state, receipt, note, by_site) on filing.events to biyi_staff;
