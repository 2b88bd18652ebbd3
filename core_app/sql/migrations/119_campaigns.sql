-- Campaigns: who is told of an offer, once each, and the message to each. Runs as biyi_owner.

create table core.campaigns (
    campaign        text primary key check (campaign ~ '^[a-z][a-z0-9-]{2,29}$'),
    segment         text not null,
    message         text not null,
    medium          text not null check (medium in ('app', 'sms')),
    coupon          text,
    least_points    integer check (least_points between 300 and 900),
    first_day       date not null,
    last_day        date not null check (last_day >= first_day),
    reason          text not null,
    staff           text not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create trigger campaigns_append_only before update or delete or truncate on core.campaigns
    for each statement execute function core.refuse_change();

-- A message of a campaign is a notice about no loan; `message` is what it says, by its id.
alter table core.notices
    alter column loan_id drop not null,
    add column message text,
    drop constraint notices_kind_check,
    add constraint notices_kind_check check (kind in ('due', 'overdue', 'rate_change', 'campaign')),
    add constraint notices_of_campaigns
        check ((kind = 'campaign') = (loan_id is null) and (kind = 'campaign') = (message is not null));

-- The score chose, with its model; nobody is refused anything by it. Points are null where no score was asked for.
create table core.campaign_targets (
    campaign        text not null references core.campaigns,
    customer_id     text not null references core.customers,
    chosen_on       date not null,
    notice_id       text not null unique references core.notices,
    coupon_id       text unique references core.coupons,
    points          integer,
    model_sm3       bytea,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (campaign, customer_id),
    check ((points is null) = (model_sm3 is null))
);
create trigger campaign_targets_append_only before update or delete or truncate on core.campaign_targets
    for each statement execute function core.refuse_change();

grant select, insert on core.campaigns, core.campaign_targets to biyi_app;
grant select on core.campaigns, core.campaign_targets to biyi_report;

-- Whoever sends asks again whether the customer still agrees; of consents the sender sees these alone.
grant select (consent_id, customer_id, source, granted) on core.consents to biyi_notices;
create policy told_of_offers on core.consents for select to biyi_notices using (source = 'marketing');

-- The catalogue of metrics asks for each day's check of public opinion.
grant select on core.opinion_checks to biyi_app;
select core.guard_rows();
