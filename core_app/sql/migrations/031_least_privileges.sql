-- Who may touch what, by role of the database. Runs as biyi_owner.
-- biyi_app: lending. biyi_staff: the portal and access control. biyi_ueba: reads what staff did.
-- biyi_report: reads the books. None of them is granted membership of another.

-- The customers' role neither writes nor reads records of looks.
revoke all on core.staff_looks, core.staff_look_ends from biyi_app;

-- Looks say more: how they came about, with which page, as whom, whether the customer was theirs.
alter table core.staff_looks
    add column kind text not null default 'view'
        check (kind in ('view', 'unmask', 'search_hit', 'list_row', 'export_row')),
    add column page_id text,
    add column role text check (role ~ '^[a-z_+]{0,100}$'),
    add column branch text check (branch ~ '^[a-z0-9][a-z0-9-]{0,19}$'),
    add column assigned boolean,
    add column approval text check (approval ~ '^[0-9a-f]{32}$');

-- The transactions in which a look was carried out: one, or more when a failover made it run again. The policy
-- below opens a customer's row in these only.
create table core.staff_look_runs (
    made_in     xid8 not null default pg_current_xact_id(),
    look_id     text not null references core.staff_looks,
    customer_id text not null,
    primary key (made_in, customer_id, look_id)
);
create trigger staff_look_runs_append_only before update or delete or truncate on core.staff_look_runs
    for each statement execute function core.refuse_change();

-- A list, a search or an export as a whole: one row in each cell that was asked.
create table core.staff_pages (
    page_id  text primary key check (page_id ~ '^S[0-9a-f]{3}-[0-9a-f]{32}$'),
    staff    text not null check (staff ~ '^[a-z][a-z0-9._-]{1,39}$'),
    role     text check (role ~ '^[a-z_+]{0,100}$'),
    branch   text check (branch ~ '^[a-z0-9][a-z0-9-]{0,19}$'),
    action   text not null check (action in ('search', 'list', 'export')),
    by_field text check (by_field in ('phone', 'id_number')),
    rows     integer not null check (rows >= 0),
    purpose  text not null check (purpose ~ '^[a-z_]{2,40}$'),
    case_id  text check (case_id ~ '^[A-Z]{2,8}-[0-9]{1,10}$'),
    approval text check (approval ~ '^[0-9a-f]{32}$'),
    site     text not null,
    terminal text check (terminal ~ '^[a-z]{1,12}(-[a-z0-9]{1,8}){0,3}$'),
    at       timestamptz not null default now()
);
create trigger staff_pages_append_only before update or delete or truncate on core.staff_pages
    for each statement execute function core.refuse_change();

-- What a page last said about an open look, so that one that dies tells how long it lived.
create table core.staff_look_beats (
    look_id  text primary key references core.staff_looks,
    dwell_ms integer not null check (dwell_ms between 0 and 86400000),
    at       timestamptz not null default now()
);

-- Whose customers these are, for now.
create table core.staff_assignments (
    staff       text not null check (staff ~ '^[a-z][a-z0-9._-]{1,39}$'),
    customer_id text not null references core.customers,
    until_at    timestamptz not null,
    assigned_by text not null check (assigned_by <> staff),
    at          timestamptz not null default now(),
    primary key (staff, customer_id)
);

-- Finds each subject, records the look, tells it, returns whose it is and the facts. Its owner's rights:
-- the portal's role has none on loans, applications or the records themselves but to read the records.
-- `wishes` are rows of core.staff_looks without customer, time and transaction. Repeated, it records once.
create function core.record_looks(wishes jsonb)
returns table (look_id text, customer_id text, facts jsonb)
language sql security definer set search_path = core, pg_temp as $$
    with wished as (
        select w.*, case w.subject
            when 'customer' then (select c.customer_id from core.customers c where c.customer_id = w.subject_id)
            when 'loan' then (select l.customer_id from core.loans l where l.loan_id = w.subject_id)
            when 'application' then
                (select a.customer_id from core.applications a where a.application_id = w.subject_id)
            end as whose
        from jsonb_populate_recordset(null::core.staff_looks, wishes) w
    ), noted as (
        insert into core.staff_looks (look_id, staff, role, branch, subject, subject_id, customer_id, fields,
            clear, kind, page_id, purpose, case_id, site, address, terminal, assigned, approval)
        select w.look_id, w.staff, w.role, w.branch, w.subject, w.subject_id, w.whose,
            case when w.whose is null then '{}' else w.fields end, w.clear, w.kind, w.page_id, w.purpose,
            w.case_id, w.site, w.address, w.terminal,
            exists (select from core.staff_assignments s
                where s.staff = w.staff and s.customer_id = w.whose and s.until_at > now()),
            w.approval
        from wished w
        on conflict (look_id) do nothing
        returning *
    ), runs as (
        -- Not for a look of long ago: an old record is no ticket to read again.
        insert into core.staff_look_runs (look_id, customer_id)
        select w.look_id, w.whose from wished w left join core.staff_looks old using (look_id)
        where w.whose is not null and (old.look_id is null or (old.at > now() - interval '1 minute'
            and (old.staff, old.customer_id, old.fields) = (w.staff, w.whose, w.fields)))
        returning look_id
    ), told as (
        insert into core.outbox (topic, key, payload, idempotency_key)
        select 'staff.looked', n.look_id, to_jsonb(n) - 'address' || jsonb_build_object(
            'event_id', n.look_id, 'action', n.kind, 'customer', n.customer_id,
            'result', case when n.customer_id is null then 'not_found' else 'ok' end), n.look_id
        from noted n
    )
    select w.look_id, w.whose, case w.subject
        when 'loan' then (select to_jsonb(l) from core.loans l where l.loan_id = w.subject_id)
        when 'application' then (select to_jsonb(a) from core.applications a where a.application_id = w.subject_id)
        else '{}' end
    from wished w join runs using (look_id)
$$;

-- Records a page; tells it when asked to, with the rows of the other cells added.
create function core.record_page(page jsonb, tell boolean, rows_elsewhere integer) returns void
language sql security definer set search_path = core, pg_temp as $$
    with noted as (
        insert into core.staff_pages (page_id, staff, role, branch, action, by_field, rows, purpose, case_id,
            approval, site, terminal)
        select p.page_id, p.staff, p.role, p.branch, p.action, p.by_field, p.rows, p.purpose, p.case_id,
            p.approval, p.site, p.terminal
        from jsonb_populate_record(null::core.staff_pages, page) p
        on conflict (page_id) do nothing
        returning *
    )
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'staff.paged', n.page_id, to_jsonb(n) || jsonb_build_object(
        'event_id', n.page_id, 'result', 'ok', 'rows', n.rows + rows_elsewhere), n.page_id
    from noted n where tell
$$;

-- Who has this phone or ID number: ids only, and only for keyed indexes (one a key version) that nobody can
-- make from outside.
create function core.find_customers(by_field text, wanted bytea[], most integer) returns setof text
language sql stable security definer set search_path = core, pg_temp as $$
    select customer_id from core.customers where by_field = 'phone' and phone_index = any(wanted)
    union all
    select customer_id from core.customers where by_field = 'id_number' and id_number_index = any(wanted)
    limit most
$$;

create function core.assign_customers(wished_staff text, ids text[], days integer, by_staff text)
returns setof text language sql security definer set search_path = core, pg_temp as $$
    insert into core.staff_assignments as s (staff, customer_id, until_at, assigned_by)
    select wished_staff, c.customer_id, now() + make_interval(days => days), by_staff
    from core.customers c where c.customer_id = any(ids)
    on conflict (staff, customer_id) do update
        set until_at = excluded.until_at, assigned_by = excluded.assigned_by, at = now()
    returning s.customer_id
$$;

revoke all on function core.record_looks, core.record_page, core.find_customers, core.assign_customers
    from public;
grant execute on function core.record_looks, core.record_page, core.find_customers, core.assign_customers
    to biyi_staff;
grant select on core.staff_looks, core.staff_look_runs, core.staff_look_ends, core.staff_look_beats, core.staff_pages,
    core.staff_assignments to biyi_staff;
grant insert (look_id, dwell_ms) on core.staff_look_ends, core.staff_look_beats to biyi_staff;
grant update (dwell_ms, at) on core.staff_look_beats to biyi_staff;

-- Rows with personal data. The portal sees a customer's row only in the transaction that recorded a look at
-- this customer: what is not recorded cannot be read, by whatever statement.
alter table core.customers enable row level security;
create policy lending on core.customers to biyi_app using (true) with check (true);
create policy looked_at on core.customers for select to biyi_staff using (exists (
    select from core.staff_look_runs r
    where r.made_in = pg_current_xact_id_if_assigned() and r.customer_id = customers.customer_id));
grant select (customer_id, name, id_number, phone) on core.customers to biyi_staff;

-- Behaviour scoring reads what staff did, through a view that holds nothing else of the outbox.
create view core.staff_events with (security_barrier) as
    select outbox_id, xid, topic, key, payload, at from core.outbox where topic like 'staff.%';
grant usage on schema core to biyi_ueba, biyi_report;
grant select on core.staff_events to biyi_ueba;

-- Reports read the books and no person: ids are keyed pseudonyms.
grant select on core.accounts, core.entries, core.loans, core.instalments, core.repayments, core.contracts,
    core.applications, core.reversals, core.corrections, core.write_offs, core.loan_snapshots, core.closings,
    core.statements, core.statement_lines, core.loan_funders, core.settlements, core.business_date,
    core.day_end_progress, core.product_versions, core.outbox to biyi_report;
