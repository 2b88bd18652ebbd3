-- What the credit bureau's records of credit agreements are made from: until when an agreement holds. Runs as
-- biyi_owner. No amount and no tree: which limits somebody has is not filed.

grant select (contract_id, valid_to) on core.limit_holds to biyi_report;
create policy filed on core.limit_holds for select to biyi_report using (true);
