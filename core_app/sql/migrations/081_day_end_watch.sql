-- The payer tells Prometheus whether day-end is late: of a cell that follows the calendar still, the day of its
-- first change. Of the outbox it sees when, never what. Runs as biyi_owner.
grant select (outbox_id, at) on core.outbox to biyi_payer;
