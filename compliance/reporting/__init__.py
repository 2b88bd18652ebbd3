"""Filings: EAST retail tables, credit-bureau records, 1104 returns, from one evening's books; submission.

Lives here: tables, cells, records and checks as data (`tables/`), their computation from one snapshot a cell,
the checks before anything leaves, batches and what became of them, the port to the regulator and its fake.
May not: change a business row; file what a check refuses; call a format official that nobody compared with
the official text. Start reading at `run.py`, then `tables/`. Pure: batch, bureau, bureau_others, returns.
"""
