"""Loans: contract, draw and repayment.

Lives here: schedules and allocation (pure), the SQL of loans, one transaction a command.
May not: know which site or copy it writes to. Start reading at `repay.py`.
"""
