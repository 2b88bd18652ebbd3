-- Limits as a tree per customer, and how each application was decided. Runs as biyi_owner.

-- One row a node of a customer's tree: 'customer', 'group:<name>', 'product:<id>', 'scene:<id>/<name>'.
-- A limit of null means that the product's document and the law alone decide. The row is the lock:
-- whoever changes several nodes of a customer takes 'customer' first.
create table core.limits (
    customer_id    text not null references core.customers,
    node           text not null check (node ~ '^(customer|(group|product|scene):[a-z0-9_/-]+)$'),
    limit_fen      bigint check (limit_fen >= 0),
    reserved_fen   bigint not null default 0 check (reserved_fen >= 0),
    used_fen       bigint not null default 0 check (used_fen >= 0),
    temporary_fen  bigint not null default 0 check (temporary_fen >= 0),
    temporary_from date,
    temporary_to   date check (temporary_to >= temporary_from),
    primary key (customer_id, node)
) with (fillfactor = 70);

-- Each time somebody set a limit. What holds stands in core.limits, where it is read under the lock.
create table core.limit_changes (
    change_id       bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    node            text not null,
    temporary       boolean not null,
    amount_fen      bigint check (amount_fen >= 0),
    valid_from      date not null,
    valid_to        date check (valid_to >= valid_from),
    reason          text not null,
    staff           text not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check (temporary = (valid_to is not null)),
    check (not temporary or amount_fen is not null)
);
create trigger limit_changes_append_only before update or delete or truncate on core.limit_changes
    for each statement execute function core.refuse_change();

-- What a contract holds of the tree: reserved when signed, used when drawn, given back when repaid.
create table core.limit_holds (
    contract_id  text primary key,
    customer_id  text not null references core.customers,
    nodes        text[] not null check (nodes[1] = 'customer'),
    reserved_fen bigint not null check (reserved_fen >= 0),
    used_fen     bigint not null default 0 check (used_fen >= 0),
    line         boolean not null,
    valid_to     date not null
) with (fillfactor = 70);
create index limit_holds_to_expire on core.limit_holds (valid_to) where reserved_fen > 0;

alter table core.contracts drop constraint contracts_status_check;
alter table core.contracts add constraint contracts_status_check
    check (status in ('signed', 'drawn', 'void', 'expired'));

-- What was there before holds its place.
insert into core.limit_holds (contract_id, customer_id, nodes, reserved_fen, used_fen, line, valid_to)
select k.contract_id, k.customer_id, array['customer', 'product:' || k.product],
       case k.status when 'signed' then k.amount_fen else 0 end, coalesce(l.balance_fen, 0), false,
       (k.signed_on + interval '12 months')::date
from core.contracts k left join core.loans l using (contract_id);
insert into core.limits (customer_id, node, reserved_fen, used_fen)
select h.customer_id, n.node, sum(h.reserved_fen), sum(h.used_fen)
from core.limit_holds h, unnest(h.nodes) as n (node) group by h.customer_id, n.node;

grant select on core.limits, core.limit_changes, core.limit_holds to biyi_app;
grant insert on core.limits, core.limit_changes, core.limit_holds to biyi_app;
grant update (limit_fen, reserved_fen, used_fen, temporary_fen, temporary_from, temporary_to)
    on core.limits to biyi_app;
grant update (reserved_fen, used_fen, line) on core.limit_holds to biyi_app;

-- What the tier of an application lets its customer owe in the product; null before there were tiers.
alter table core.applications add column tier_limit_fen bigint check (tier_limit_fen >= 0);

-- How each application was decided, step by step, with everything it rested on. No personal datum.
create table core.decision_steps (
    application_id  text not null references core.applications,
    ordinal         smallint not null check (ordinal > 0),
    step            text not null,
    outcome         text not null check (outcome in ('passed', 'refused', 'over_budget', 'skipped')),
    elapsed_us      bigint not null check (elapsed_us >= 0),
    budget_ms       integer not null,
    reasons         jsonb not null,
    facts           jsonb not null,
    primary key (application_id, ordinal),
    check ((outcome in ('refused', 'over_budget')) = (jsonb_array_length(reasons) > 0))
);
create trigger decision_steps_append_only before update or delete or truncate on core.decision_steps
    for each statement execute function core.refuse_change();

-- A customer's tier after each application that was scored; the newest is what hysteresis remembers.
create table core.customer_tiers (
    tier_id         bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    application_id  text not null references core.applications,
    score           integer not null,
    tier            text not null,
    policy_version  integer not null,
    decided_on      date not null
);
create index customer_tiers_newest on core.customer_tiers (customer_id, tier_id desc);
create trigger customer_tiers_append_only before update or delete or truncate on core.customer_tiers
    for each statement execute function core.refuse_change();

-- Every inquiry at the bureau that was made, answered or not, under which authorisation.
create table core.bureau_inquiries (
    inquiry_id      bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    application_id  text not null references core.applications,
    authorisation   text not null,
    outcome         text not null,
    report          jsonb,
    elapsed_ms      integer not null check (elapsed_ms >= 0),
    asked_on        date not null,
    at              timestamptz not null default now(),
    check ((outcome = 'answered') = (report is not null))
);
create index bureau_inquiries_answered on core.bureau_inquiries (customer_id, inquiry_id desc)
    where report is not null;
create trigger bureau_inquiries_append_only before update or delete or truncate on core.bureau_inquiries
    for each statement execute function core.refuse_change();

-- Device evidence of applications: keyed indexes only, never a value. The truth of the window counts.
create table core.evidence (
    application_id  text not null references core.applications,
    customer_id     text not null references core.customers,
    kind            text not null check (kind in ('device', 'wifi', 'ip', 'address')),
    value_index     bytea not null check (length(value_index) = 32),
    at              timestamptz not null default now(),
    primary key (application_id, kind)
);
create index evidence_by_value on core.evidence (kind, value_index, at);
create index evidence_by_customer on core.evidence (customer_id);
create trigger evidence_append_only before update or delete or truncate on core.evidence
    for each statement execute function core.refuse_change();

-- Gangs found by one run over the evidence of every cell; each cell keeps its own customers' part. The
-- newest run counts, also when it found nobody.
create table core.gang_runs (
    run_id      text primary key,
    found_on    date not null,
    at          timestamptz not null default now()
);
create index gang_runs_newest on core.gang_runs (at desc);
create trigger gang_runs_append_only before update or delete or truncate on core.gang_runs
    for each statement execute function core.refuse_change();
create table core.gang_members (
    run_id      text not null references core.gang_runs,
    customer_id text not null references core.customers,
    gang        text not null,
    customers   integer not null check (customers > 1),
    density     numeric(9, 8) not null check (density between 0 and 1),
    primary key (customer_id, run_id)
);
create trigger gang_members_append_only before update or delete or truncate on core.gang_members
    for each statement execute function core.refuse_change();

-- Variables and the cool-off read a customer's own history.
create index applications_by_customer on core.applications (customer_id, decided_on);

grant select, insert on core.decision_steps, core.customer_tiers, core.bureau_inquiries, core.evidence,
    core.gang_runs, core.gang_members to biyi_app;
