-- What a reviewer says beside a step: kept with the act, told with it, so that it stands in the audit chain.
alter table watch.acts add column comment text check (length(comment) between 1 and 500);
grant insert (comment) on watch.acts to biyi_staff;

create or replace function watch.tell_act() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'staff.reviewed', new.act_id, jsonb_strip_nulls(jsonb_build_object(
        'event_id', new.act_id, 'staff', new.done_by, 'action', 'review_' || new.kind, 'result', 'ok',
        'case_id', new.case_id, 'about', c.subject, 'day', c.day, 'disposition', new.disposition,
        'family', new.family, 'until', new.until_day, 'approval', new.approval, 'comment', new.comment)),
        new.idempotency_key
    from watch.cases c where c.case_id = new.case_id;
    return null;
end $$;
