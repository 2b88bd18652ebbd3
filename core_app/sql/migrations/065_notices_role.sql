-- The sender's own role: of a borrower the phone, and only while a text message is to be sent; of the loans
-- those that a notice is open for. Runs as biyi_owner.
grant usage on schema core to biyi_notices;
grant select on core.notices, core.loans, core.instalments, core.late_lines, core.product_versions,
    core.business_date, core.day_end_chunks to biyi_notices;
grant update (state, note, tries, due_at, changed_by, changed_at) on core.notices to biyi_notices;
grant insert (topic, key, payload, idempotency_key) on core.outbox to biyi_notices;
grant select (customer_id, phone) on core.customers to biyi_notices;

create index notices_open_by_customer on core.notices (customer_id) where state = 'ordered';
create policy of_cell on core.notices to biyi_notices using (true) with check (true);
create policy told_by_sms on core.customers for select to biyi_notices using (exists (
    select from core.notices n
    where n.customer_id = customers.customer_id and n.state = 'ordered' and n.medium = 'sms'));
create policy told_of on core.loans for select to biyi_notices using (exists (
    select from core.notices n where n.loan_id = loans.loan_id and n.state = 'ordered'));

-- Day-end orders notices as biyi_app; what becomes of one is no longer its business.
revoke update on core.notices from biyi_app;
