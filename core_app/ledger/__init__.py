"""The ledger: double entry in integer fen, append-only.

Lives here: the chart of accounts, posting rules as data, the check that entries balance.
May not: know schedules or products. Start reading at `posting.py`.
"""
