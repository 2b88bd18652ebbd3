-- Looks of staff at personal data: who, whose, which fields, what for, when, from where, and how long.
-- Runs as biyi_owner. Append-only, in the subject's cell, written by the statement that reads. No
-- column takes a free text: a customer's name, ID number or phone number cannot be stored here.

create table core.staff_looks (
    look_id     text primary key check (look_id ~ '^S[0-9a-f]{3}-[0-9a-f]{32}$'),
    staff       text not null check (staff ~ '^[a-z][a-z0-9._-]{1,39}$'),
    subject     text not null check (subject in ('customer', 'loan', 'application')),
    subject_id  text not null check (subject_id ~ '^(C[0-9a-f]{24}|[AL][0-9a-f]{3}-[0-9a-f]{32})$'),
    customer_id text,  -- null: there was no such subject, so nothing was shown
    fields      text[] not null check (array_to_string(fields, ',', '') ~ '^[a-z_,]*$'),
    clear       boolean not null,
    purpose     text not null check (purpose ~ '^[a-z_]{2,40}$'),
    case_id     text check (case_id ~ '^[A-Z]{2,8}-[0-9]{1,10}$'),
    site        text not null,
    address     inet,
    terminal    text check (terminal ~ '^[a-z]{1,12}(-[a-z0-9]{1,8}){0,3}$'),
    at          timestamptz not null default now(),
    check ((customer_id is null) = (cardinality(fields) = 0))
);
create index staff_looks_by_time on core.staff_looks (at);
create trigger staff_looks_append_only before update or delete or truncate on core.staff_looks
    for each statement execute function core.refuse_change();

-- `dwell_ms` is what the page says; `at` minus the look's is the most it can have been.
create table core.staff_look_ends (
    look_id  text primary key references core.staff_looks,
    dwell_ms integer not null check (dwell_ms between 0 and 86400000),
    at       timestamptz not null default now()
);
create trigger staff_look_ends_append_only before update or delete or truncate on core.staff_look_ends
    for each statement execute function core.refuse_change();

-- The core may not choose a look's time.
grant select on core.staff_looks, core.staff_look_ends to biyi_app;
grant insert (look_id, staff, subject, subject_id, customer_id, fields, clear, purpose, case_id, site, address,
    terminal) on core.staff_looks to biyi_app;
grant insert (look_id, dwell_ms) on core.staff_look_ends to biyi_app;
