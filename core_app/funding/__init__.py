"""Whose money a loan is, and how it gets to the borrower: funders, quotas, joint shares, payouts, settlement.

Lives here: the router over funders, quota kept in the draw's transaction, the split of each repayment,
payment channels behind a port with their breaker, the payer that drives payout orders, settlement files.
May not: know schedules or decide about credit. Start reading at `route.py`, then `service.py`; payouts at
`payout.py`, then `payer.py`.
"""
