"""Disclosure: what a loan really costs a year.

Lives here: the all-in annual cost by internal rate of return. May not: decide anything.
Start reading at `annual_cost.py`.
"""
