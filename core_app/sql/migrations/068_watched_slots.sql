-- A case may stand in the queue because its person is on a watch list, whatever the evidence.
alter table watch.cases drop constraint cases_why_check;
alter table watch.cases add constraint cases_why_check check (why in ('fresh', 'slow', 'watched', 'random'));
