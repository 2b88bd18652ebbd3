"""Limits: how much one customer may owe, level by level, held by contracts from signing to the last fen.

Lives here: the tree customer, group, product, scene with temporary increases (pure), what a contract
reserves, a draw uses and a repayment gives back, and the commands that set limits. May not: decide who
gets a loan. Start reading at `tree.py`, then `hold.py`.
"""
