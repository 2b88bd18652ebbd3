"""The lending core: products, decisions, loans, ledger and the HTTP API over them.

Lives here: business rules (pure files), their SQL, and one transaction per command.
May not: know which site is alive; `router.py` is told by grants where a cell is written.
Start reading at `loans/repay.py`.
"""
