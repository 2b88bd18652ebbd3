-- Several repayments, or draws, in one transaction: their locks. Runs as biyi_owner.
--
-- Everything a repayment waits for is taken in one order, whatever stands in a group and in which order it
-- came: days, loans, then what their contracts hold of limits, then the customers' own nodes. Within each
-- in the order of the ids; each statement sees what was committed before it began.
create function core.lock_repaid(wanted text[], chunks smallint[], calendar date) returns void
language plpgsql as $$
begin
    perform core.enter_day(c.chunk, calendar)
    from (select distinct u.chunk from unnest(chunks) as u (chunk) order by u.chunk) as c;
    perform from core.loans l where l.loan_id = any (wanted) order by l.loan_id for update;
    if cardinality(wanted) > 1 then  -- what writes one repayment takes these two in order by itself
        perform from core.limit_holds h
        where h.contract_id in (select l.contract_id from core.loans l where l.loan_id = any (wanted))
        order by h.contract_id for update;
        perform from core.limits n
        where n.node = 'customer'
            and n.customer_id in (select l.customer_id from core.loans l where l.loan_id = any (wanted))
        order by n.customer_id for update;
    end if;
end $$;

-- The same of draws: days, contracts, what they hold, their customers' own nodes. What is counted of a
-- customer's draws by a later statement stays so until the end.
create function core.lock_drawn(wanted text[], chunks smallint[], calendar date) returns void
language plpgsql as $$
begin
    perform core.enter_day(c.chunk, calendar)
    from (select distinct u.chunk from unnest(chunks) as u (chunk) order by u.chunk) as c;
    perform from core.contracts k where k.contract_id = any (wanted) order by k.contract_id for update;
    perform from core.limit_holds h where h.contract_id = any (wanted) order by h.contract_id for update;
    perform from core.limits n
    where n.node = 'customer'
        and n.customer_id in (select k.customer_id from core.contracts k where k.contract_id = any (wanted))
    order by n.customer_id for update;
end $$;
