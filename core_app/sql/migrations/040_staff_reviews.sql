-- Reviews of staff behaviour: published cases, what reviewers do about them, and what is usual for each member
-- of staff. Runs as biyi_owner in every cell; only the first cell's rows are used, beside the accounts
-- (decision 026). Staff stand here as keyed tokens; whose token it is, takes two people to learn.

create schema watch;

-- A scored day. `card` names what the scores depend on; a day is published once.
create table watch.publications (
    day    date primary key,
    scores text not null unique check (scores ~ '^[0-9a-f]{64}$'),
    card   jsonb not null,
    at     timestamptz not null default now()
);

-- Who is to be looked at that day, and why: reasons, rules, the day's log lines.
create table watch.cases (
    case_id  text primary key check (case_id ~ '^W-[0-9a-f]{32}$'),
    day      date not null references watch.publications,
    subject  text not null check (subject ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    place    integer not null check (place > 0),
    why      text not null check (why in ('fresh', 'slow', 'random')),
    score    numeric(5, 2) not null check (score between 0 and 100),
    level    text not null check (level in ('unknown', 'low', 'moderate', 'high', 'critical')),
    fresh    double precision not null check (fresh >= 0),
    slow     double precision not null check (slow >= 0),
    document jsonb not null,
    unique (day, subject),
    unique (day, place)
);
create index cases_of_subject on watch.cases (subject, day desc);

create table watch.acts (
    act_id          text primary key check (act_id ~ '^[0-9a-f]{32}$'),
    case_id         text not null references watch.cases,
    number          integer not null check (number > 0),
    kind            text not null check (kind in
        ('open', 'propose', 'confirm', 'reject', 'ask_unmask', 'approve_unmask')),
    done_by         text not null references access.accounts,
    disposition     text check (disposition in
        ('malicious', 'policy_breach', 'explained', 'data_fault', 'role_change')),
    family          text check (family ~ '^[a-z_]{2,40}$'),
    until_day       date,
    approval        text references access.approvals,
    idempotency_key text not null unique,
    request_digest  bytea not null check (length(request_digest) = 32),
    at              timestamptz not null default now(),
    unique (case_id, number),
    check ((kind = 'propose') = (disposition is not null))
);

-- Whoever holds the role: what one proposes another confirms, and who asks for a name does not grant it.
create function watch.keep_four_eyes() returns trigger language plpgsql as $$
declare
    one text;
begin
    if new.kind in ('confirm', 'reject') then
        select a.done_by into one from watch.acts a
        where a.case_id = new.case_id and a.kind = 'propose' order by a.number desc limit 1;
    elsif new.kind = 'approve_unmask' then
        select a.done_by into one from watch.acts a
        where a.case_id = new.case_id and a.kind = 'ask_unmask' order by (a.done_by = new.done_by), a.number limit 1;
    else
        return new;
    end if;
    if one is null or one = new.done_by then
        raise exception '% takes two people', new.kind using errcode = 'BY106';
    end if;
    return new;
end $$;
create trigger acts_take_two before insert on watch.acts
    for each row execute function watch.keep_four_eyes();

-- Told in its own transaction, so each act is in the audit chain and the watchers are watched.
create function watch.tell_act() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'staff.reviewed', new.act_id, jsonb_strip_nulls(jsonb_build_object(
        'event_id', new.act_id, 'staff', new.done_by, 'action', 'review_' || new.kind, 'result', 'ok',
        'case_id', new.case_id, 'about', c.subject, 'day', c.day, 'disposition', new.disposition,
        'family', new.family, 'until', new.until_day, 'approval', new.approval)), new.idempotency_key
    from watch.cases c where c.case_id = new.case_id;
    return null;
end $$;
revoke all on function watch.tell_act() from public;
create trigger act_is_told after insert on watch.acts
    for each row execute function watch.tell_act();

-- What is usual, for the streaming path: means and spreads of counts, words used, marks of the registers.
create table watch.profiles (
    staff    text primary key check (staff ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    document jsonb not null,
    at       timestamptz not null default now()
);

create trigger publications_append_only before update or delete or truncate on watch.publications
    for each statement execute function core.refuse_change();
create trigger cases_append_only before update or delete or truncate on watch.cases
    for each statement execute function core.refuse_change();
create trigger acts_append_only before update or delete or truncate on watch.acts
    for each statement execute function core.refuse_change();

grant usage on schema watch to biyi_staff, biyi_ueba;
grant select on watch.publications, watch.profiles to biyi_ueba;
grant select on all tables in schema watch to biyi_staff;
grant insert (day, scores, card) on watch.publications to biyi_staff;
grant insert on watch.cases to biyi_staff;
grant insert (act_id, case_id, number, kind, done_by, disposition, family, until_day, approval, idempotency_key,
    request_digest) on watch.acts to biyi_staff;
grant insert (staff, document), update (document, at) on watch.profiles to biyi_staff;

-- As core.guard_rows() has it for the schemas of the core: whoever is granted a table by mistake sees no row.
alter table watch.cases enable row level security;
alter table watch.acts enable row level security;
alter table watch.profiles enable row level security;
create policy cell_of_staff on watch.cases to biyi_staff using (true) with check (true);
create policy cell_of_staff on watch.acts to biyi_staff using (true) with check (true);
create policy cell_of_staff on watch.profiles to biyi_staff using (true) with check (true);
create policy cell_of_ueba on watch.profiles to biyi_ueba using (true);
