-- Each closed day's check of public opinion: the feed was read to its end, once. In the first cell.
-- Runs as biyi_owner.

create table core.opinion_checks (
    feed    text not null,
    on_date date not null,
    posts   bigint not null check (posts >= 0),
    taken   bigint not null check (taken between 0 and posts),
    place   bigint not null,
    site    text not null,
    at      timestamptz not null default now(),
    primary key (feed, on_date)
);
create trigger opinion_checks_append_only before update or delete or truncate on core.opinion_checks
    for each statement execute function core.refuse_change();
grant select, insert on core.opinion_checks to biyi_notices;
grant select on core.opinion_checks to biyi_report;
