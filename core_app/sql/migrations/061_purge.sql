-- Device evidence and bureau reports end when their time is over. Runs as biyi_owner.
--
-- Nobody has a right to delete them: this one function does, for days that a dated parameter gives it, and
-- only rows that no loan under way rests on. That a bureau was asked stays, what it said goes.

alter table core.bureau_inquiries
    add column purged_on date,
    drop constraint bureau_inquiries_check,
    add constraint bureau_inquiries_report
        check ((outcome = 'answered') = (report is not null or purged_on is not null)),
    add constraint bureau_inquiries_purged check (purged_on is null or report is null);

create index evidence_by_age on core.evidence (at);
create index bureau_reports_by_age on core.bureau_inquiries (asked_on) where report is not null;

-- The function below runs as the owner; nobody else gets past this, whatever was granted by mistake.
create function core.refuse_unless_purging() returns trigger language plpgsql as $$
begin
    if current_setting('biyi.purging', true) = 'yes'
        and current_user = (select c.relowner::regrole::text from pg_class c where c.oid = tg_relid) then
        return null;
    end if;
    raise exception 'core.% is append-only: % refused', tg_table_name, tg_op using errcode = 'BY103';
end $$;
drop trigger evidence_append_only on core.evidence;
create trigger evidence_append_only before update or truncate on core.evidence
    for each statement execute function core.refuse_change();
create trigger evidence_purged_only before delete on core.evidence
    for each statement execute function core.refuse_unless_purging();
drop trigger bureau_inquiries_append_only on core.bureau_inquiries;
create trigger bureau_inquiries_append_only before delete or truncate on core.bureau_inquiries
    for each statement execute function core.refuse_change();
create trigger bureau_inquiries_purged_only before update on core.bureau_inquiries
    for each statement execute function core.refuse_unless_purging();

-- Loans that are not settled, and contracts that may still be drawn, keep what their application rests on.
create function core.in_use(wanted text) returns boolean language sql stable as $$
    select exists (
        select from core.contracts k left join core.loans l using (contract_id)
        where k.application_id = wanted
            and (k.status = 'signed' or (l.loan_id is not null and l.settled_on is null)))
$$;

-- Ends at most so many rows of each kind that are from before the days given; returns how many of each.
create function core.purge_expired(evidence_before date, reports_before date, today date, most integer)
returns table (evidence bigint, reports bigint)
language plpgsql security definer set search_path = core, pg_temp as $$
begin
    if evidence_before is null or reports_before is null or greatest(evidence_before, reports_before) >= today then
        raise exception 'purge before % and %: needs days before %', evidence_before, reports_before, today
            using errcode = 'BY107';
    end if;
    perform set_config('biyi.purging', 'yes', true);
    delete from core.evidence e using (
        select o.application_id, o.kind from core.evidence o
        where o.at < evidence_before::timestamp at time zone 'Asia/Shanghai'
            and not core.in_use(o.application_id)
        order by o.at limit most
    ) as old
    where e.application_id = old.application_id and e.kind = old.kind;
    get diagnostics evidence = row_count;
    update core.bureau_inquiries i set report = null, purged_on = today
    from (
        select o.inquiry_id from core.bureau_inquiries o
        where o.report is not null and o.asked_on < reports_before and not core.in_use(o.application_id)
        order by o.asked_on limit most
    ) as old
    where i.inquiry_id = old.inquiry_id;
    get diagnostics reports = row_count;
    perform set_config('biyi.purging', 'no', true);
    return next;
end $$;
revoke all on function core.purge_expired(date, date, date, integer) from public;
grant execute on function core.purge_expired(date, date, date, integer) to biyi_app;
