"""Replication: grants, epochs, agents, failover, rejoin. Decides who may write a cell, and proves it.

Lives here: the pure decision (`failover/decide.py`), the thin loop around it, and PostgreSQL's handles.
May not: know what a loan is. Start reading at `model.py`, then `failover/decide.py`, `failover/loop.py`.
"""
