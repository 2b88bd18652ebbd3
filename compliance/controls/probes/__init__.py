"""Probes: each asks the running system one question and returns plain facts; none of them judges.

A probe that cannot ask raises; `gather` makes an unknown reading of it. Start reading at `databases.py`.
"""
