"""The rule sandbox: what a future-dated set of rules would have done to the business of the last days.

`compare.py` amends the rules and compares (pure); `read.py` reads the business in read-only transactions as a
role that can write nothing. Live rows are never touched: nothing is copied back, nothing is locked.
"""
