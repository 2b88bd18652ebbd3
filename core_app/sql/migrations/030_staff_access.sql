-- Staff accounts, sessions, approvals. Runs as biyi_owner in every cell; only the first cell's rows are used
-- (decision 026), so accounts follow that cell's failover. biyi_staff alone may see them: the customers'
-- role reads no password hash and opens no session. No column takes a free text.

create schema access;

create table access.accounts (
    staff          text primary key check (staff ~ '^[a-z][a-z0-9._-]{1,39}$'),
    branch         text not null check (branch ~ '^[a-z0-9][a-z0-9-]{0,19}$'),
    roles          text[] not null default '{}' check (roles <@ array['system_admin', 'security_admin',
        'audit_admin', 'service', 'credit', 'collection', 'operations', 'supervisor']),
    disabled       boolean not null default false,
    password_hash  text not null check (password_hash ~ '^\$argon2id\$'),
    password_at    timestamptz not null default now(),
    password_given boolean not null default true,  -- somebody else knew it: good only to be changed
    failures       smallint not null default 0 check (failures >= 0),
    locked_until   timestamptz,
    totp_secret    bytea,                          -- sealed (compliance.protection)
    totp_confirmed boolean not null default false check (totp_secret is not null or not totp_confirmed),
    totp_step      bigint not null default 0,      -- of the last code used: one is good once
    used_at        timestamptz not null default now(),
    at             timestamptz not null default now(),
    constraint administrators_are_nothing_else check (
        cardinality(roles) <= 1 or not roles && array['system_admin', 'security_admin', 'audit_admin'])
);

create table access.earlier_passwords (
    staff         text not null references access.accounts,
    password_hash text not null,
    at            timestamptz not null default now(),
    primary key (staff, at)
);

create table access.sessions (
    token_digest bytea primary key check (length(token_digest) = 32),  -- the token itself is nowhere
    staff        text not null references access.accounts,
    scope        text not null check (scope in ('full', 'password', 'enrol')),
    address      text,
    terminal     text check (terminal ~ '^[a-z]{1,12}(-[a-z0-9]{1,8}){0,3}$'),
    began_at     timestamptz not null default now(),
    seen_at      timestamptz not null default now(),
    ended_at     timestamptz,
    ended_why    text check (ended_why ~ '^[a-z_]{2,40}$'),
    check ((ended_at is null) = (ended_why is null))
);
create unique index one_open_session on access.sessions (staff) where ended_at is null;

-- One request that needs two people: who asked, who decided, and that it was used once.
create table access.approvals (
    approval_id    text primary key check (approval_id ~ '^[0-9a-f]{32}$'),
    route          text not null,                  -- method and template, such as POST /v1/write-offs
    request_digest bytea not null check (length(request_digest) = 32),
    shown          jsonb not null,                 -- path and body, for who decides; of ids and figures
    about          text,                           -- the account it is about: its owner decides nothing
    needs          text not null,                  -- role of who decides
    asked_by       text not null references access.accounts,
    asked_at       timestamptz not null default now(),
    expires_at     timestamptz not null,
    decided_by     text references access.accounts,
    decided_at     timestamptz,
    granted        boolean,
    used_at        timestamptz,
    used_key       text,
    constraint two_people check (decided_by <> asked_by and decided_by <> about),
    check ((decided_by is null) = (decided_at is null) and (decided_by is null) = (granted is null)),
    check (used_at is null or granted),
    check ((used_at is null) = (used_key is null))
);
create index approvals_open on access.approvals (asked_at) where decided_at is null;

-- What was done to accounts and by whom. Append-only.
create table access.changes (
    change_id text primary key,
    staff     text not null,
    what      text not null check (what ~ '^[a-z_]{2,40}$'),
    detail    jsonb not null,
    done_by   text not null,
    approval  text references access.approvals,
    at        timestamptz not null default now()
);

-- What counts against a limit a day: rows exported, looks at clear values. Append-only.
create table access.uses (
    use_id text primary key,
    staff  text not null references access.accounts,
    what   text not null check (what in ('export_rows', 'clear_look')),
    amount integer not null check (amount > 0),
    at     timestamptz not null default now()
);
create index uses_by_staff on access.uses (staff, what, at);

create trigger changes_append_only before update or delete or truncate on access.changes
    for each statement execute function core.refuse_change();
create trigger uses_append_only before update or delete or truncate on access.uses
    for each statement execute function core.refuse_change();
create trigger earlier_passwords_append_only before update or delete or truncate on access.earlier_passwords
    for each statement execute function core.refuse_change();

-- A decision stands, a use happens once, an ended session stays ended: whoever holds the role.
create function access.keep_decided() returns trigger language plpgsql as $$
begin
    if (old.decided_at is not null and (new.decided_by, new.granted) is distinct from (old.decided_by, old.granted))
        or (old.used_at is not null and new.used_key is distinct from old.used_key)
        or (new.request_digest, new.asked_by, new.needs, new.expires_at)
            is distinct from (old.request_digest, old.asked_by, old.needs, old.expires_at) then
        raise exception 'an approval that was decided or used stays so' using errcode = 'BY104';
    end if;
    return new;
end $$;
create trigger approvals_keep before update on access.approvals
    for each row execute function access.keep_decided();

create function access.keep_ended() returns trigger language plpgsql as $$
begin
    if old.ended_at is not null then
        raise exception 'an ended session stays ended' using errcode = 'BY105';
    end if;
    return new;
end $$;
create trigger sessions_keep before update on access.sessions
    for each row execute function access.keep_ended();

grant usage on schema access, core to biyi_staff;
grant select, insert on all tables in schema access to biyi_staff;
grant update (roles, branch, disabled, password_hash, password_at, password_given, failures, locked_until,
    totp_secret, totp_confirmed, totp_step, used_at) on access.accounts to biyi_staff;
grant update (seen_at, ended_at, ended_why) on access.sessions to biyi_staff;
grant update (decided_by, decided_at, granted, used_at, used_key) on access.approvals to biyi_staff;
grant insert (topic, key, payload, idempotency_key) on core.outbox to biyi_staff;
