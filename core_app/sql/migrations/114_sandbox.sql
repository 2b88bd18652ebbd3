-- The rule sandbox asks whether a contract's cost table was confirmed and for how long it was read. Runs as biyi_owner.
grant select (contract_id, confirmed, read_seconds) on core.cost_tables to biyi_report;
