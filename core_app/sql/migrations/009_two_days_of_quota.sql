-- While day-end runs, draws of some chunks are dated the day that ends and draws of others the next day. A
-- funder's quota of a day is kept for both: `day_used_fen` on `used_on`, `eve_used_fen` on the day before it.
-- Runs as biyi_owner.

alter table core.funder_quotas
    add column eve_used_fen bigint not null default 0 check (eve_used_fen >= 0),
    add constraint quota_eve check (eve_used_fen <= day_fen);
grant update (eve_used_fen) on core.funder_quotas to biyi_app;
