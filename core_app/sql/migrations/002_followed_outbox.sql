-- The outbox can be followed from any copy: each row carries its transaction's id, so that a reader
-- can tell which rows can still appear (those of transactions from pg_snapshot_xmin on) and miss none.
-- Runs as biyi_owner. Rows that are there already get this migration's own id: they are one window.

alter table core.outbox add column xid xid8 not null default pg_current_xact_id();
create index outbox_by_xid on core.outbox (xid, outbox_id);
-- The newest row of one aggregate: its version, and its state after a fork.
create index outbox_by_key on core.outbox (key, outbox_id desc);

-- The core may not choose a row's transaction id or time.
revoke insert on core.outbox from biyi_app;
grant insert (topic, key, payload, idempotency_key) on core.outbox to biyi_app;

-- biyi_read follows the outbox at fenced standbys too, and sees nothing else of the core.
grant usage on schema core to biyi_read;
grant select on core.outbox to biyi_read;
