"""Drills: runbooks that execute themselves, measure what customers saw, and keep the evidence.

Lives here: one runbook a file (`site_loss.py`, `planned_move.py`), the customer load, the recorded
history, the pure checkers and measures. May not: decide anything about failover; a drill only
breaks, watches and judges. Start reading at `site_loss.py`.
"""
