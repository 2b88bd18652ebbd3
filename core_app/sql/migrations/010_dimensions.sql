-- Each line of the ledger has product, channel, region and funder: a loan's line by its loan, a line of
-- day-end, which is of many loans, by itself. Runs as biyi_owner.

-- Provinces are the first two digits of GB/T 2260. A customer's is that of the ID number; an application has
-- the one that its entrance names, else the customer's, and where it was applied for.
alter table core.customers add column region text check (region ~ '^[1-9][0-9]$');
alter table core.applications
    add column channel text not null default 'unknown' check (channel ~ '^[a-z][a-z0-9_]{1,63}$'),
    add column region  text not null default 'unknown' check (region ~ '^([1-9][0-9]|unknown)$');
alter table core.loans
    add column channel text not null default 'unknown',
    add column region  text not null default 'unknown';

alter table core.entries
    add column product text,
    add column channel text,
    add column region  text,
    add constraint entries_dimensions check ((loan_id = '') = (product is not null)
        and (product is null) = (channel is null) and (product is null) = (region is null)) not valid;

alter table core.closings
    add column channel text not null default 'unknown',
    add column region  text not null default 'unknown',
    drop constraint closings_pkey,
    add primary key (chunk, product, channel, region, on_date);

-- One look-up by a loan's key a line; lines of day-end from before this migration have their product in the
-- name of their transaction.
create view core.ledger_lines as
select e.entry_id, e.transaction_id, e.account, e.amount_fen, e.currency, e.loan_id, e.booked_on, e.funder,
       coalesce(l.product, e.product, split_part(e.transaction_id, '/', 4)) as product,
       coalesce(l.channel, e.channel, 'unknown') as channel, coalesce(l.region, e.region, 'unknown') as region
from core.entries e left join core.loans l on l.loan_id = e.loan_id;
grant select on core.ledger_lines to biyi_app;
