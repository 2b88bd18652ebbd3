-- The payer's own role, and row security on every table that holds a person. Runs as biyi_owner.

-- Row security on each table of ours that names a person, by whatever column: sealed, indexed, a pseudonym, or
-- one of the staff. Who was granted a right keeps the rows of this cell (a cell is the boundary between
-- customers' data); whoever is granted one by mistake sees none, for no policy is theirs. Tables whose readers
-- see less have policies of their own beside it. A migration that makes such a table ends with a call of this.
create function core.guard_rows() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    guarded regclass;
    reader text;
begin
    for guarded in
        select distinct c.oid from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relkind = 'r' and not c.relrowsecurity and not a.attisdropped
            and c.relnamespace in ('core'::regnamespace, 'access'::regnamespace, 'keys'::regnamespace)
            and a.attname in ('customer_id', 'subject_id', 'value_index', 'staff', 'asked_by', 'done_by')
    loop
        execute format('alter table %s enable row level security', guarded);
        foreach reader in array array['biyi_app', 'biyi_staff', 'biyi_report'] loop
            if has_any_column_privilege(reader, guarded, 'select, insert, update') then
                execute format('create policy cell_of_%s on %s to %I using (true) with check (true)',
                    substr(reader, 6), guarded, reader);
            end if;
        end loop;
    end loop;
end $$;
revoke all on function core.guard_rows() from public;
select core.guard_rows();

-- The payer pays out and collects: orders, and of a loan what voiding a draw or booking a repayment writes. It
-- sees no customer, application, evidence, decision, contract or account, and may make no loan and no order
-- of a payout.
grant usage on schema core to biyi_payer;
grant select, insert on core.commands, core.late_lines, core.repayments, core.entries, core.draw_voids,
    core.payout_events, core.debit_events, core.debit_orders to biyi_payer;
grant select on core.accounts, core.business_date, core.day_end_chunks, core.instalments, core.loan_funders,
    core.loans, core.limits, core.limit_holds, core.funder_quotas, core.payout_orders, core.product_versions
    to biyi_payer;
grant insert (topic, key, payload, idempotency_key) on core.outbox to biyi_payer;
grant update (status, response) on core.commands to biyi_payer;
grant update (state, channel, refused_by, valid_until, due_at, note, epoch, changed_by, changed_at)
    on core.payout_orders to biyi_payer;
grant update (amount_fen, state, channel, refused_by, valid_until, due_at, note, part_fen, booked_at, epoch,
    changed_by, changed_at) on core.debit_orders to biyi_payer;
grant update (principal_paid_fen, interest_paid_fen, penalty_paid_fen, plan_version, open_period, interest_fen,
    interest_fen_days, interest_to, settled_on) on core.loans to biyi_payer;
grant update (fen_days, counted_to, penalty_paid_fen) on core.late_lines to biyi_payer;
grant update (reserved_fen, used_fen) on core.limits to biyi_payer;
grant update (reserved_fen, used_fen, line) on core.limit_holds to biyi_payer;
grant update (used_fen, day_used_fen, used_on, eve_used_fen) on core.funder_quotas to biyi_payer;

-- Of loans it sees those that it has work with: an order under way, one to be booked, or one that this
-- transaction ended. Limits and holds follow the loan.
create policy orders_under_way on core.loans to biyi_payer using (
    exists (select from core.payout_orders o where o.loan_id = loans.loan_id
        and (o.state in ('ordered', 'sent', 'unknown') or o.changed_at = now()))
    or exists (select from core.debit_orders o where o.loan_id = loans.loan_id
        and (o.state in ('ordered', 'sent', 'unknown') or (o.state = 'paid' and o.booked_at is null)
            or o.booked_at = now())));
create policy of_loans_seen on core.limit_holds to biyi_payer using (
    exists (select from core.loans l where l.contract_id = limit_holds.contract_id));
create policy of_loans_seen on core.limits to biyi_payer using (
    exists (select from core.loans l where l.customer_id = limits.customer_id));
