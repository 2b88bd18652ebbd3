-- What borrowers are told while a loan runs: due reminders, overdue, a changed rate. Runs as biyi_owner.

-- Ordered by day-end for the next day, once: the number follows from what is told, to whom, when and how.
-- `quiet_*`: the hours of the product in which nobody is told anything.
create table core.notices (
    notice_id       text primary key check (notice_id ~ '^N[0-9a-f]{3}-[0-9a-f]{32}$'),
    loan_id         text not null references core.loans,
    customer_id     text not null,
    kind            text not null check (kind in ('due', 'overdue', 'rate_change')),
    medium          text not null,
    about           date not null,
    on_date         date not null,
    state           text not null default 'ordered'
        check (state in ('ordered', 'delivered', 'refused', 'needless', 'given_up')),
    note            text not null default '',
    tries           integer not null default 0,
    quiet_from      smallint not null,
    quiet_until     smallint not null,
    due_at          timestamptz not null,
    give_up_at      timestamptz not null,
    changed_by      text not null,
    changed_at      timestamptz not null default now(),
    idempotency_key text not null,
    at              timestamptz not null default now()
) with (fillfactor = 70);
create index notices_due on core.notices (due_at) where state = 'ordered';
create index notices_by_loan on core.notices (loan_id, on_date);

create function core.check_notice() returns trigger language plpgsql as $$
begin
    if old.state <> 'ordered' and old.state <> new.state then
        raise exception 'notice % is %: final', old.notice_id, old.state using errcode = 'BY104';
    end if;
    return new;
end $$;
create trigger notices_final before update on core.notices
    for each row execute function core.check_notice();
create trigger notices_kept before delete or truncate on core.notices
    for each statement execute function core.refuse_change();

grant select, insert on core.notices to biyi_app;
grant update (state, note, tries, due_at, changed_by, changed_at) on core.notices to biyi_app;
