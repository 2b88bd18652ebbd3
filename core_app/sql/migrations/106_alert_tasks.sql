-- Tasks that alert rules open. In the first cell; one open at a time for each rule and its dimensions. Runs as
-- biyi_owner.
create table core.alert_tasks (
    task_id    bigint generated always as identity primary key,
    alert      text not null,
    metric     text not null,
    dimensions text not null,
    value      numeric not null,
    threshold  numeric not null,
    on_date    date not null,
    action     text not null check (action in ('risk_check', 'service_check', 'operations_check')),
    owner      text not null,
    closed_at  timestamptz,
    closed_by  text check (closed_by ~ '^[a-z][a-z0-9._-]{1,39}$'),
    note       text,
    at         timestamptz not null default now(),
    check ((closed_at is null) = (closed_by is null) and (closed_at is null) = (note is null))
);
create unique index alert_tasks_one_open on core.alert_tasks (alert, dimensions) where closed_at is null;

create function core.check_alert_task() returns trigger language plpgsql as $$
begin
    if old.closed_at is not null then
        raise exception 'alert task % is closed: final', old.task_id using errcode = 'BY104';
    end if;
    return new;
end $$;
create trigger alert_tasks_final before update on core.alert_tasks
    for each row execute function core.check_alert_task();
create trigger alert_tasks_kept before delete or truncate on core.alert_tasks
    for each statement execute function core.refuse_change();

grant select on core.alert_tasks to biyi_app, biyi_report;
grant insert (alert, metric, dimensions, value, threshold, on_date, action, owner) on core.alert_tasks to biyi_app;
grant update (closed_at, closed_by, note) on core.alert_tasks to biyi_app;
alter table core.alert_tasks enable row level security;
create policy cell_of_app on core.alert_tasks to biyi_app using (true) with check (true);
create policy cell_of_report on core.alert_tasks for select to biyi_report using (true);
