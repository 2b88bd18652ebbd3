-- Who checked that customers are who they say, what they agreed to be asked about, and what outside sources
-- said of them. Runs as biyi_owner.

-- The newest row of a kind that is not 'unavailable' holds. `reference`: the number under which the vendor
-- keeps pictures and recordings; none of them is here.
create table core.identity_evidence (
    evidence_id     bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    kind            text not null check (kind ~ '^[a-z][a-z0-9_]{1,63}$'),
    finding         text not null check (finding in ('passed', 'failed', 'unavailable')),
    vendor          text not null,
    reference       text not null check (reference ~ '^[A-Za-z0-9._-]{0,64}$'),
    looked_on       date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check ((finding = 'unavailable') = (reference = ''))
);
create index identity_evidence_newest on core.identity_evidence (customer_id, kind, evidence_id desc)
    where finding <> 'unavailable';
create trigger identity_evidence_append_only before update or delete or truncate on core.identity_evidence
    for each statement execute function core.refuse_change();

-- The newest row of a source holds.
create table core.consents (
    consent_id      bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    source          text not null check (source ~ '^[a-z][a-z0-9_]{1,63}$'),
    granted         boolean not null,
    reference       text not null check (reference ~ '^[A-Za-z0-9._-]{4,64}$'),
    given_on        date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index consents_newest on core.consents (customer_id, source, consent_id desc);
create trigger consents_append_only before update or delete or truncate on core.consents
    for each statement execute function core.refuse_change();

-- Numbers only, kept until the registry's time for the source is over, then deleted: the one table of
-- decisions that forgets. What a decision rested on stands with the decision.
create table core.source_answers (
    answer_id       bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    source          text not null,
    fields          jsonb not null,
    asked_on        date not null,
    keep_until      date not null check (keep_until >= asked_on),
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index source_answers_newest on core.source_answers (customer_id, source, answer_id desc);
create index source_answers_to_forget on core.source_answers (keep_until);
create trigger source_answers_fixed before update or truncate on core.source_answers
    for each statement execute function core.refuse_change();

grant select, insert on core.identity_evidence, core.consents, core.source_answers to biyi_app;
grant delete on core.source_answers to biyi_app;
