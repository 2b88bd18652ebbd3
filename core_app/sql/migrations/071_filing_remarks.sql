-- What a regulator found wrong with a batch, record by record: its feedback file. Runs as biyi_owner. Append-only.

create table filing.remarks (
    batch_id   text not null references filing.batches,
    number     integer not null check (number > 0),
    table_code text not null check (length(table_code) between 1 and 20),
    row_key    text not null check (length(row_key) <= 200),
    field      text not null check (length(field) <= 60),
    remark     text not null check (length(remark) between 1 and 500),
    at         timestamptz not null default now(),
    primary key (batch_id, number)
);
create trigger remarks_append_only before update or delete or truncate on filing.remarks
    for each statement execute function core.refuse_change();
create trigger remarks_are_audited after insert on filing.remarks
    for each row execute function audit.note_row();

grant select on filing.remarks to biyi_staff, biyi_report;
grant insert (batch_id, number, table_code, row_key, field, remark) on filing.remarks to biyi_staff;
