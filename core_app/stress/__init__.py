"""Stress tests: dated scenarios of defaults, prepayment and funding over the portfolio of one evening.

`scenario.py` says what a scenario may hold, `shock.py` what it does to balances, provisions and ratios,
`runoff.py` what it does to cash (all pure); `read.py` reads the evening. Nothing here writes.
Start at `shock.py`.
"""
