-- Complaints: from the hotline, the web, public opinion; their clocks, and everything that was done with them.
-- Runs as biyi_owner.

-- `words` are of the complainant, without names and numbers of people (the API refuses those); a public post's
-- words stay at its site, the reference says where. Clocks are worked out once, when it comes in.
create table core.complaints (
    complaint_id      text primary key check (complaint_id ~ '^G[0-9a-f]{3}-[0-9a-f]{32}$'),
    customer_id       text references core.customers,
    loan_id           text references core.loans,
    source            text not null check (source in ('hotline', 'web', 'opinion')),
    about             text not null check (about in ('fees', 'collection', 'service', 'privacy', 'fraud', 'other')),
    words             text,
    reference         text unique,
    received_at       timestamptz not null,
    received_on       date not null,
    first_answer_by   timestamptz not null,
    simple_by         date not null,
    complex_by        date not null check (complex_by >= simple_by),
    special_by        date not null check (special_by >= complex_by),
    decide_by         date not null,
    state             text not null default 'open' check (state in ('open', 'replied', 'closed')),
    level             smallint not null default 0 check (level between 0 and 3),
    first_answered_at timestamptz,
    replied_at        timestamptz,
    staff             text,
    idempotency_key   text not null,
    at                timestamptz not null default now(),
    check ((source = 'opinion') = (reference is not null)),
    check (source = 'opinion' or (customer_id is not null and words is not null)),
    check (decide_by in (simple_by, complex_by, special_by))
) with (fillfactor = 70);
create index complaints_open on core.complaints (decide_by) where state <> 'closed';
create index complaints_by_customer on core.complaints (customer_id);

create table core.complaint_acts (
    complaint_id    text not null references core.complaints,
    number          smallint not null check (number > 0),
    act             text not null check (act in ('first_answer', 'extend_complex', 'extend_special', 'draft',
        'release', 'reopen', 'escalate', 'close')),
    staff           text,
    approval        text,
    words           text,
    words_sm3       bytea check (length(words_sm3) = 32),
    level           smallint,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (complaint_id, number),
    check ((act = 'draft') = (words_sm3 is not null)),
    check ((act = 'escalate') = (level is not null)),
    check (act <> 'extend_special' or approval is not null)
);
create index complaint_acts_by_words on core.complaint_acts (words_sm3) where words_sm3 is not null;
create trigger complaint_acts_append_only before update or delete or truncate on core.complaint_acts
    for each statement execute function core.refuse_change();

create function core.check_complaint() returns trigger language plpgsql as $$
begin
    if old.state = 'closed' or (old.first_answered_at is not null
            and new.first_answered_at is distinct from old.first_answered_at) then
        raise exception 'complaint %: what was done stays done', old.complaint_id using errcode = 'BY104';
    end if;
    return new;
end $$;
create trigger complaints_final before update on core.complaints
    for each row execute function core.check_complaint();
create trigger complaints_kept before delete or truncate on core.complaints
    for each statement execute function core.refuse_change();

-- How far each feed was read. One row a feed, in the first cell.
create table core.opinion_feeds (
    feed  text primary key,
    place bigint not null,
    at    timestamptz not null default now()
);

grant select, insert on core.complaints, core.complaint_acts to biyi_app;
grant update (decide_by, state, level, first_answered_at, replied_at) on core.complaints to biyi_app;
grant select (complaint_id, source, about, received_at, received_on, first_answer_by, decide_by, state, level,
    first_answered_at, replied_at, reference) on core.complaints to biyi_notices;
grant insert (complaint_id, source, about, reference, received_at, received_on, first_answer_by, simple_by,
    complex_by, special_by, decide_by, idempotency_key) on core.complaints to biyi_notices;
grant update (state, level) on core.complaints to biyi_notices;
grant select (complaint_id, number), insert on core.complaint_acts to biyi_notices;
grant select, insert, update on core.opinion_feeds to biyi_notices;
grant select on core.complaints, core.complaint_acts to biyi_report;
create policy of_cell on core.complaints to biyi_notices using (true) with check (true);
create policy of_cell on core.complaint_acts to biyi_notices using (true) with check (true);
select core.guard_rows();
