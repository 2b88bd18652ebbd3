-- The matrix's own tables in a cell: made by a run, dropped after it. Every write claims its token first,
-- so that a repeated one is answered and not executed again, in whatever epoch it arrives.
drop schema if exists faults cascade;
create schema faults;
grant usage on schema faults to biyi_app;

create table faults.done (
    token  text primary key,
    batch  integer not null,
    action text not null,
    epoch  bigint not null,
    copy   text not null,
    answer jsonb,
    at     timestamptz not null default clock_timestamp()
);
create index done_by_batch on faults.done (batch);

-- No check against a negative balance: that is what the matrix looks for.
create table faults.accounts (
    account     integer primary key,
    balance_fen bigint not null
);
create table faults.legs (
    token      text not null,
    account    integer not null,
    amount_fen bigint not null
);
create index legs_by_token on faults.legs (token);
create table faults.registers (
    key     text primary key,
    batch   integer not null,
    version bigint not null,
    value   text not null
);
grant select, insert, update on all tables in schema faults to biyi_app;

-- Null: the token is this transaction's. Else the answer that stands under it; `for update` writes to
-- the log, so the commit of whoever repeats an answer waits for the synchronous copy too.
create function faults.claim(wanted text, its_batch integer, its_action text, its_epoch bigint) returns jsonb
language plpgsql as $$
declare
    kept jsonb;
begin
    insert into faults.done (token, batch, action, epoch, copy)
    select wanted, its_batch, its_action, its_epoch, e.copy from biyi.epoch as e
    on conflict do nothing;
    if found then
        return null;
    end if;
    select d.answer || jsonb_build_object('replayed', true, 'epoch', d.epoch) into strict kept
    from faults.done as d where d.token = wanted for update;
    return kept;
end $$;

create function faults.finish(wanted text, its_answer jsonb) returns jsonb language sql as $$
    update faults.done set answer = its_answer where token = wanted returning answer
$$;

create function faults.add(token text, batch integer, epoch bigint) returns jsonb language plpgsql as $$
begin
    return coalesce(faults.claim(token, batch, 'add', epoch), faults.finish(token, '{"done": true}'));
end $$;

create function faults.transfer(
    token text, batch integer, epoch bigint, source integer, target integer, moved_fen bigint
) returns jsonb language plpgsql as $$
declare
    earlier  jsonb := faults.claim(token, batch, 'transfer', epoch);
    have_fen bigint;
begin
    if earlier is not null then
        return earlier;
    end if;
    perform from faults.accounts where account in (source, target) order by account for update;
    select balance_fen into strict have_fen from faults.accounts where account = source;
    if have_fen < moved_fen then
        return faults.finish(token, '{"done": false}');
    end if;
    insert into faults.legs values (token, source, -moved_fen), (token, target, moved_fen);
    update faults.accounts set balance_fen = balance_fen - moved_fen where account = source;
    update faults.accounts set balance_fen = balance_fen + moved_fen where account = target;
    return faults.finish(token, '{"done": true}');
end $$;

-- `expected` null: write whatever stands there. Else only at that version (compare-and-swap).
create function faults.write(token text, batch integer, epoch bigint, wanted text, expected bigint)
returns jsonb language plpgsql as $$
declare
    earlier jsonb := faults.claim(token, batch, case when expected is null then 'write' else 'cas' end, epoch);
    stands  bigint;
begin
    if earlier is not null then
        return earlier;
    end if;
    insert into faults.registers values (wanted, batch, 0, '') on conflict do nothing;
    select r.version into strict stands from faults.registers as r where r.key = wanted for update;
    if expected is not null and stands <> expected then
        return faults.finish(token, jsonb_build_object('done', false, 'version', stands, 'key', wanted));
    end if;
    update faults.registers as r set version = stands + 1, value = write.token where r.key = wanted;
    return faults.finish(token, jsonb_build_object('done', true, 'version', stands + 1, 'key', wanted));
end $$;

-- A confirmed read: the row lock is logged, so its commit waits for the synchronous copy.
create function faults.read(wanted text, its_batch integer) returns jsonb language plpgsql as $$
declare
    found_row faults.registers;
begin
    insert into faults.registers values (wanted, its_batch, 0, '') on conflict do nothing;
    select * into strict found_row from faults.registers as r where r.key = wanted for update;
    return jsonb_build_object('version', found_row.version, 'value', found_row.value);
end $$;
grant execute on all functions in schema faults to biyi_app;
