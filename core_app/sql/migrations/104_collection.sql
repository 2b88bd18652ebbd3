-- Collections: tasks that day-end orders, every contact that was asked for (let through or refused, with the
-- rules that refused it), what became of it, and the rest after a request for hardship. Runs as biyi_owner.

create table core.collection_tasks (
    task_id          text primary key check (task_id ~ '^T[0-9a-f]{3}-[0-9a-f]{32}$'),
    loan_id          text not null references core.loans,
    customer_id      text not null,
    channel          text not null check (channel in ('voice_robot', 'person', 'sms', 'letter')),
    script           text not null,
    strategy_version integer not null,
    days_past_due    integer not null check (days_past_due > 0),
    on_date          date not null,
    state            text not null default 'ordered'
        check (state in ('ordered', 'done', 'refused', 'needless', 'given_up')),
    tries            integer not null default 0,
    quiet_from       smallint not null,
    quiet_until      smallint not null,
    due_at           timestamptz not null,
    give_up_at       timestamptz not null,
    changed_by       text not null,
    changed_at       timestamptz not null default now(),
    idempotency_key  text not null,
    at               timestamptz not null default now()
) with (fillfactor = 70);
create index collection_tasks_due on core.collection_tasks (due_at) where state = 'ordered';
create index collection_tasks_open_by_customer on core.collection_tasks (customer_id) where state = 'ordered';
create index collection_tasks_by_loan on core.collection_tasks (loan_id, on_date);

create function core.check_collection_task() returns trigger language plpgsql as $$
begin
    if old.state <> 'ordered' and old.state <> new.state then
        raise exception 'collection task % is %: final', old.task_id, old.state using errcode = 'BY104';
    end if;
    return new;
end $$;
create trigger collection_tasks_final before update on core.collection_tasks
    for each row execute function core.check_collection_task();
create trigger collection_tasks_kept before delete or truncate on core.collection_tasks
    for each statement execute function core.refuse_change();

-- `at` is the instant that the limits were asked for, `on_date` its day in Shanghai; `refused_by` the ids of
-- the rules that refused it, none: it was let through. `staff` is null where a machine does it.
create table core.contacts (
    contact_id      text primary key check (contact_id ~ '^U[0-9a-f]{3}-[0-9a-f]{32}$'),
    task_id         text references core.collection_tasks,
    loan_id         text not null references core.loans,
    customer_id     text not null,
    channel         text not null check (channel in ('voice_robot', 'person', 'sms', 'letter')),
    whom            text not null,
    script          text not null,
    script_version  integer not null,
    words_sm3       bytea not null check (length(words_sm3) = 32),
    refused_by      text[] not null,
    staff           text,
    on_date         date not null,
    at              timestamptz not null,
    site            text not null,
    idempotency_key text not null
);
create index contacts_by_customer on core.contacts (customer_id, on_date);
create index contacts_by_task on core.contacts (task_id);

create table core.contact_outcomes (
    contact_id      text primary key references core.contacts,
    customer_id     text not null,
    outcome         text not null check (outcome in ('answered', 'promised', 'disputed', 'hardship',
        'no_answer', 'third_party', 'wrong_number', 'wants_no_contact', 'delivered', 'refused', 'unknown')),
    promised_on     date,
    promised_fen    bigint check (promised_fen > 0),
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check ((outcome = 'promised') = (promised_on is not null)),
    check ((promised_on is null) = (promised_fen is null))
);
create index contact_outcomes_by_customer on core.contact_outcomes (customer_id);

create table core.hardships (
    loan_id         text not null references core.loans,
    customer_id     text not null,
    asked_on        date not null,
    rest_until      date not null check (rest_until >= asked_on),
    reason          text not null check (reason in ('income', 'illness', 'disaster', 'other')),
    staff           text not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (loan_id, asked_on)
);

do $$
declare
    kept text;
begin
    foreach kept in array array['contacts', 'contact_outcomes', 'hardships'] loop
        execute format('create trigger %1$s_append_only before update or delete or truncate on core.%1$I
            for each statement execute function core.refuse_change()', kept);
    end loop;
end $$;

-- Staff ask as biyi_app; what a machine does it does as the sender of notices, which sees of a borrower the
-- phone, and only while a call or a text message is to be made.
grant select, insert on core.collection_tasks, core.contacts, core.contact_outcomes, core.hardships to biyi_app;
grant update (state, changed_by, changed_at) on core.collection_tasks to biyi_app;
grant select on core.collection_tasks, core.contacts, core.contact_outcomes, core.hardships to biyi_notices;
grant update (state, tries, due_at, changed_by, changed_at) on core.collection_tasks to biyi_notices;
grant insert on core.contacts, core.contact_outcomes to biyi_notices;
create policy of_cell on core.contacts to biyi_notices using (true) with check (true);
create policy of_cell on core.contact_outcomes to biyi_notices using (true) with check (true);
create policy of_cell on core.hardships for select to biyi_notices using (true);
create policy for_machines on core.collection_tasks to biyi_notices
    using (channel <> 'person') with check (channel <> 'person');
create policy told_by_machine on core.customers for select to biyi_notices using (exists (
    select from core.collection_tasks t where t.customer_id = customers.customer_id and t.state = 'ordered'
        and t.channel in ('voice_robot', 'sms')));
create policy collected_by_machine on core.loans for select to biyi_notices using (exists (
    select from core.collection_tasks t where t.loan_id = loans.loan_id and t.state = 'ordered'
        and t.channel <> 'person'));

-- The portal shows the open tasks of people, of customers that are assigned to somebody.
grant select (task_id, loan_id, customer_id, channel, script, days_past_due, on_date, state, due_at)
    on core.collection_tasks to biyi_staff;
alter table core.collection_tasks enable row level security;
create policy cell_of_app on core.collection_tasks to biyi_app using (true) with check (true);
create policy assigned on core.collection_tasks for select to biyi_staff using (
    channel = 'person' and exists (select from core.staff_assignments s
        where s.customer_id = collection_tasks.customer_id and s.until_at > now()));
grant select on core.collection_tasks, core.contacts, core.contact_outcomes, core.hardships to biyi_report;
create policy cell_of_report on core.collection_tasks to biyi_report using (true);
select core.guard_rows();
