-- Products are versions of documents, loans know theirs, and what a borrower was shown is kept.
-- Runs as biyi_owner.

-- One row a published version; the document is canonical JSON, its SM3 is of exactly these bytes.
create table core.product_versions (
    product         text not null check (product ~ '^[a-z][a-z0-9-]{2,39}$'),
    version         integer not null check (version > 0),
    document        text not null,
    document_sm3    bytea not null check (length(document_sm3) = 32),
    valid_from      date not null,
    valid_to        date check (valid_to >= valid_from),
    published_on    date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (product, version)
);
create trigger product_versions_append_only before update or delete or truncate on core.product_versions
    for each statement execute function core.refuse_change();

-- The cost table as shown before signing, byte for byte, and what the borrower did with it.
create table core.cost_tables (
    contract_id     text primary key references core.contracts,
    document        text not null,
    document_sm3    bytea not null check (length(document_sm3) = 32),
    confirmed       boolean not null,
    read_seconds    integer not null check (read_seconds >= 0),
    shown_on        date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create trigger cost_tables_append_only before update or delete or truncate on core.cost_tables
    for each statement execute function core.refuse_change();

alter table core.applications add column purpose text;

-- A loan keeps the terms of the version it was signed under.
alter table core.loans add column product_version integer;
update core.loans l set product_version = k.product_version
from core.contracts k where k.contract_id = l.contract_id;
alter table core.loans alter column product_version set not null;

grant select, insert on core.product_versions, core.cost_tables to biyi_app;
